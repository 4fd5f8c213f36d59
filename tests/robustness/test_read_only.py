"""Stores and results folders that cannot be written: what is there is read, and nothing else is begun."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.store import MANIFEST
from tests.execution.smoke import SUITE, copied, files_below, products, read_only
from tests.execution.warm import Run, start

pytestmark = pytest.mark.slow


def refused(run: Run, *sentences: str) -> None:
    """Check that a run ends with one of these sentences."""
    assert run.finish() == 2, run.err
    assert any(sentence in run.err for sentence in sentences), run.err
    assert run.err.count("error: ") == 1, run.err
    assert "Traceback" not in run.out + run.err, run.err


@pytest.mark.parametrize("command", ["run", "tables"])
def test_a_read_only_results_folder_is_told_before_any_work(tmp_path: Path, command: str) -> None:
    (tmp_path / "results").mkdir()
    with read_only(tmp_path / "results"):
        refused(
            start(tmp_path, SUITE, command=command),
            "can't be written (Read-only file system); name another with --results",
            "can't be written (Permission denied); name another with --results",
        )
    assert not list(tmp_path.glob("store/artifacts/*/*"))


def remove(folder: Path) -> None:
    """Leave a training to be made."""
    next(folder.glob("store/artifacts/train/*/records.json")).parent.rename(folder / "aside")


def shorten(folder: Path) -> None:
    """Damage an artifact of a training."""
    path = next(folder.glob("store/artifacts/train/*/records.json"))
    path.write_bytes(path.read_bytes()[:-1])


def spoil(folder: Path) -> None:
    """Damage the manifest of a training."""
    next(folder.glob(f"store/artifacts/train/*/{MANIFEST}")).write_text("null")


def empty(folder: Path) -> None:
    """Leave every job to be made, in a store without any folder."""
    (folder / "store").rename(folder / "aside")
    (folder / "store").mkdir()


@pytest.mark.parametrize("harm", [remove, shorten, spoil, empty], ids=lambda harm: harm.__name__)
def test_a_read_only_store_with_jobs_to_make_is_a_sentence(
    undisturbed: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    copied(undisturbed, tmp_path)
    harm(tmp_path)
    before = files_below(tmp_path / "store")
    with read_only(tmp_path / "store"):
        refused(start(tmp_path, SUITE), f"{tmp_path / 'store'}")
    assert files_below(tmp_path / "store") == before


@pytest.mark.parametrize("command", ["run", "plan", "tables", "verify"])
def test_a_whole_store_is_read_though_it_cannot_be_written(
    undisturbed: Path, tmp_path: Path, command: str
) -> None:
    copied(undisturbed, tmp_path)
    with read_only(tmp_path / "store"):
        run = start(tmp_path, SUITE, command=command)
        assert run.finish() == 0, run.err
    assert products(tmp_path) == products(undisturbed)
