"""Suites and dataset cards: whatever is in the file, it is read, or refused in sentences that name it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config
from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.execution.suite_plan import plan_of
from tests.readers.refusals import damaged, damaged_bytes, hostile_contents, quickly, read_or_refuse

SUITES = [ROOT / "benchmarks" / f"{name}.yaml" for name in ("digits_demo", "digits_dg", "morph", "pacs")]
CARDS = [ROOT / "datasets" / f"{name}.yaml" for name in ("digits", "pacs", "domainnet")]


def values_of(paths: list[Path]) -> st.SearchStrategy[Any]:
    return st.one_of([damaged(yaml.safe_load(path.read_text())) for path in paths])


def bytes_of(paths: list[Path]) -> st.SearchStrategy[bytes]:
    return st.one_of([damaged_bytes(path.read_bytes()) for path in paths])


def as_yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, allow_unicode=True).encode(errors="surrogatepass")


def check_suite(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    suite = read_or_refuse(lambda: config.read_suite(path), path)
    if suite is not None:
        with suppress(UserError):  # what is wrong with the methods or the dataset is not of this file alone
            plan_of(suite)


@hostile_contents
def test_what_is_no_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    assert read_or_refuse(lambda: config.read_suite(path), path) is None
    assert read_or_refuse(lambda: config.read_card_file(path), path) is None


@given(value=values_of(SUITES))
@quickly
def test_suites_with_other_values(tmp_path: Path, value: Any) -> None:
    check_suite(tmp_path / "mine.yaml", as_yaml(value))


@given(content=bytes_of(SUITES))
@quickly
def test_suites_with_other_bytes(tmp_path: Path, content: bytes) -> None:
    check_suite(tmp_path / "mine.yaml", content)


@given(value=values_of(CARDS))
@quickly
def test_cards_with_other_values(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(as_yaml(value))
    read_or_refuse(lambda: config.read_card_file(path), path)


@given(content=bytes_of(CARDS))
@quickly
def test_cards_with_other_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    read_or_refuse(lambda: config.read_card_file(path), path)
