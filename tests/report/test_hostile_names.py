"""Titles and names that would control a terminal, compute in a spreadsheet, or break a table."""

import csv
import io
import re

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipeline import cli
from pipeline.config import read_suite
from pipeline.core.paths import ROOT
from pipeline.core.text import csv_cell, printable
from pipeline.report import records
from pipeline.report.morphs import REPORT
from pipeline.report.page.build import as_yaml
from pipeline.report.tables import accuracy, compare, export, formats
from pipeline.report.tables import morphs as morph_tables
from pipeline.report.tables.csv_text import to_csv
from tests.report.report_samples import TASKS, make_suite

TITLE = "Sm|all\x1b[2J\n\n| <b>[red]\n"
METHOD = "=cmd|' C calc'!A0"
ESCAPE = "\x1b]0;owned\x07"


@pytest.fixture
def table(rows, tmp_path):
    records.write(tmp_path / "records.csv", [row | {"method": METHOD} for row in rows])
    suite = make_suite(title=TITLE, methods=[{"name": "ERM", "label": METHOD}])
    return accuracy.accuracy_table(records.read(tmp_path / "records.csv"), suite, TASKS, "last")


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("@SUM", "'@SUM"),
        ("-2+3", "'-2+3"),
        ("->cmd|' /C calc'!A0", "'->cmd|' /C calc'!A0"),
        ("->MN", "->MN"),
        ("MN->MM", "MN->MM"),
        (-1.5, -1.5),
        (None, None),
    ],
)
def test_a_cell_that_a_spreadsheet_would_compute_has_an_apostrophe(value, cell):
    assert csv_cell(value) == cell


def test_columns_keep_their_types_and_names():
    frame = pd.DataFrame([["=a", 1, 0.1, -0.5, None]], columns=["=x", "->MN", "->MN error", "z", "n"])
    assert to_csv(frame) == "'=x,->MN,->MN error,z,n\n'=a,1,0.1,-0.5,\n"
    assert frame.columns[0] == "=x"


def test_csv_tables_and_exports_hold_no_formula(table, tmp_path):
    frame = records.read(tmp_path / "records.csv")
    export.export(frame, tmp_path / "records.csv", str(tmp_path / "all.csv"))
    for text in (formats.csv(table), (tmp_path / "all.csv").read_text()):
        cells = [cell for line in csv.reader(io.StringIO(text)) for cell in line]
        assert f"'{METHOD}" in cells
        assert not [cell for cell in cells if re.match("[=+@]", cell)]


def test_a_markdown_table_keeps_its_shape(table):
    title, blank, header, *_ = formats.markdown(table).splitlines()
    assert (title, blank) == ("### Sm\\|all\\\\x1b\\[2J \\| \\<b\\>\\[red\\]", "")
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in formats.markdown(table).splitlines()]
    assert {count for count in bars if count} == {header.count("|")}


def test_latex_has_no_empty_line(table):
    assert "\n\n" not in formats.latex(table)
    assert "\x1b" not in formats.latex(table)


def test_a_terminal_is_not_controlled(table):
    for width in (200, 30):
        console = Console(width=width, file=io.StringIO(), force_terminal=False)
        console.print(formats.terminal(table, width))
        assert "\x1b" not in console.file.getvalue()
        assert "[red]" in console.file.getvalue().replace("\n", "")


def test_markdown_of_morphs_is_escaped():
    folder = ROOT / "results" / "reference" / "morph"
    frame = records.read(folder / "records.csv").replace({"method": {"ddim": "a|b"}})
    suite = read_suite("morph").model_copy(update={"title": TITLE})
    lines = morph_tables.markdown(frame, suite).splitlines()
    assert lines[0].startswith("### Sm\\|all")
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")]
    assert len(set(bars)) == 1


def test_compare_and_errors_spell_escape_codes(rows, tmp_path, capsys):
    for name, drop in (("a", 0.0), ("b", 20.0)):
        named = [row | {"version": f"{name}{ESCAPE}", "accuracy": row["accuracy"] - drop} for row in rows]
        records.write(tmp_path / name / "records.csv", named)
    found = [records.read(tmp_path / name / "records.csv") for name in ("a", "b")]
    text = compare.described(compare.compare(*found), tmp_path / "a", tmp_path / "b")
    assert "\x1b" not in text
    assert "version: A a\\x1b]0;owned\\x07; B b" in text
    assert "\n\nbeyond noise:\n" in text
    assert cli.main(["compare", f"no{ESCAPE}", "b"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_csv_of_morphs_holds_no_formula(tmp_path):
    folder = ROOT / "results" / "reference" / "morph"
    plain = records.read(folder / "records.csv")
    suite = read_suite("morph")
    REPORT.write_tables(
        suite, plain.replace({"method": {"ddim": METHOD}}), REPORT.no_artifacts(None), tmp_path
    )
    with (tmp_path / "tables" / "morphs.csv").open(newline="") as file:
        assert f"'{METHOD}" in [row[0] for row in csv.reader(file)]
    REPORT.write_tables(suite, plain, REPORT.no_artifacts(None), tmp_path)
    assert (tmp_path / "tables" / "morphs.csv").read_bytes() == (
        folder / "tables" / "morphs.csv"
    ).read_bytes()


@given(
    text=st.text(
        st.one_of(st.characters(codec="utf-8"), st.sampled_from("\x1b\x00\x85\u2028\u202e\n\t:#-'\"|>%&*"))
    )
)
@settings(max_examples=300, derandomize=True, database=None, deadline=None)
def test_the_suite_on_the_page_is_yaml_of_the_same_suite(text):
    value = {"title": text, "methods": [{"label": text}]}
    shown = as_yaml(value)
    assert yaml.safe_load(shown) == value
    assert printable(shown) == shown
