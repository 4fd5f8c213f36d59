"""records.csv and run.json of a results folder: read, or refused in a sentence that names the file."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.paths import ROOT
from pipeline.report import records
from pipeline.report.page import run_info
from tests.readers.refusals import (
    damaged,
    damaged_bytes,
    hostile_contents,
    hostile_values,
    quickly,
    read_or_refuse,
)

FOLDERS = [ROOT / "results" / "reference" / name for name in ("digits", "digits_dg", "morph")]


def head(folder: Path) -> str:
    """The first six lines of a folder's records."""
    return "".join((folder / records.FILE).read_text().splitlines(keepends=True)[:6])


@st.composite
def other_fields(draw: st.DrawFn) -> bytes:
    """Records in which some fields hold other values."""
    rows = list(csv.reader(io.StringIO(head(draw(st.sampled_from(FOLDERS))))))
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = str(draw(hostile_values))
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode(errors="surrogatepass")


def check_records(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    read_or_refuse(lambda: records.read(path), path)


@hostile_contents
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    check_records(tmp_path / records.FILE, content)


@given(content=other_fields())
@quickly
def test_records_with_other_fields(tmp_path: Path, content: bytes) -> None:
    check_records(tmp_path / records.FILE, content)


@given(content=st.one_of([damaged_bytes(head(folder).encode()) for folder in FOLDERS]))
@quickly
def test_records_with_other_bytes(tmp_path: Path, content: bytes) -> None:
    check_records(tmp_path / records.FILE, content)


def check_run(folder: Path, content: bytes) -> Any:
    (folder / run_info.FILE).write_bytes(content)
    return read_or_refuse(lambda: run_info.read(folder), folder / run_info.FILE)


@hostile_contents
def test_what_is_no_run_is_refused(tmp_path: Path, content: bytes) -> None:
    assert check_run(tmp_path, content) is None


@given(value=st.one_of([damaged(json.loads((folder / run_info.FILE).read_text())) for folder in FOLDERS]))
@quickly
def test_runs_with_other_values(tmp_path: Path, value: Any) -> None:
    check_run(tmp_path, json.dumps(value).encode())


@given(content=st.one_of([damaged_bytes((folder / run_info.FILE).read_bytes()) for folder in FOLDERS]))
@quickly
def test_runs_with_other_bytes(tmp_path: Path, content: bytes) -> None:
    check_run(tmp_path, content)
