"""A results folder is drawn again only if its inputs or one of its files changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.report import manifest
from pipeline.report.page import build


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files that were drawn from "a"."""
    made = [tmp_path / "table.md", tmp_path / "plot.png"]
    for path in made:
        path.write_text(path.name)
    manifest.write(tmp_path, "a", made, ["Made images help."])
    return made


def test_what_was_drawn_from_the_same_is_known(tmp_path: Path, files: list[Path]) -> None:
    found = manifest.read(tmp_path, "a")
    assert found is not None
    assert list(found.files) == list(map(str, files))
    assert found.sentences == ["Made images help."]


def edited(path: Path) -> None:
    """Of the same length."""
    path.write_text(path.read_text().upper())


@pytest.mark.parametrize("change", [Path.unlink, edited])
@pytest.mark.parametrize("index", [0, 1])
def test_a_file_that_is_gone_or_was_changed_is_drawn_again(
    tmp_path: Path, files: list[Path], change: Callable[[Path], None], index: int
) -> None:
    change(files[index])
    assert manifest.read(tmp_path, "a") is None


def test_other_records_are_drawn_again(tmp_path: Path, files: list[Path]) -> None:
    assert manifest.read(tmp_path, "b") is None


@pytest.mark.parametrize("text", ["", "{}", '{"mark": "a"', "[]"])
def test_a_note_that_can_not_be_read_is_none(tmp_path: Path, files: list[Path], text: str) -> None:
    (tmp_path / manifest.FILE).write_text(text)
    assert manifest.read(tmp_path, "a") is None


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_the_note_is_none_and_is_replaced(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / manifest.FILE).unlink()
    os.mkfifo(tmp_path / manifest.FILE)
    assert manifest.read(tmp_path, "a") is None
    manifest.write(tmp_path, "a", files, [])
    assert manifest.read(tmp_path, "a") is not None


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_the_page_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / manifest.PAGE)
    assert not build._has_fingerprint(tmp_path / manifest.PAGE, "a")
