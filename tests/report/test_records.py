"""records.csv comes back as it was written, and a faulty file is named with line and column."""

import math
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.report import records, training_records
from pipeline.report.tables.accuracy import accuracy_table
from tests.report.report_samples import TASKS, make_row, make_suite


def test_numbers_come_back_in_full_precision(tmp_path):
    row = make_row("MN->MM", "none", 0, 100 / 3, per_class=[200 / 3, math.nan, 0.0], seconds=0.1 + 0.2)
    records.write(tmp_path / "records.csv", [row])
    read = records.read(tmp_path / "records.csv")
    assert list(read.columns) == training_records.SCHEMA.names
    (back,) = read.to_dict("records")
    assert back["accuracy"] == 100 / 3
    assert back["seconds"] == 0.1 + 0.2
    assert back["seed"] == 0
    assert back["per_class"][0] == 200 / 3
    assert math.isnan(back["per_class"][1])
    assert back["per_class"][2] == 0.0
    assert {name: back[name] for name in training_records.CELL} == {
        name: row[name] for name in training_records.CELL
    }


def test_the_file_itself(tmp_path):
    records.write(tmp_path / "records.csv", [make_row("MN->MM", "terra", 1, 12.5)])
    assert (tmp_path / "records.csv").read_text() == (
        "suite,dataset,setting,task,method,augmentation,backbone,seed,selection,accuracy,per_class,seconds,key,version,"
        "library,status,reason\n"
        'small_suite,digits,uda,MN->MM,ERM,terra,digits_cnn,1,last,12.5,"[12.5, 100.0]",1.5,0123,0.1.0,,'
        "done,\n"
    )


def test_columns_beyond_the_known_ones_are_kept(tmp_path, rows):
    records.write(tmp_path / "records.csv", rows)
    head, *lines = (tmp_path / "records.csv").read_text().splitlines()
    (tmp_path / "records.csv").write_text(
        "\n".join([head + ",note", *(line + ",fine" for line in lines), ""])
    )
    assert list(records.read(tmp_path / "records.csv")["note"]) == ["fine"] * len(rows)


REFERENCES = sorted(ROOT.glob("results/reference/*/records.csv"))


@pytest.mark.parametrize("path", REFERENCES, ids=str)
def test_reference_records_are_read(path: Path):
    read = records.read(path)
    assert set(read["status"]) == {"done"}
    assert read[records.schema_of(read).measures[0].column].notna().all()


def test_a_failed_training_is_a_record_that_is_missing(tmp_path, rows):
    failed = {"status": "failed", "reason": "the loss became nan", "accuracy": None, "per_class": []}
    records.write(tmp_path / "records.csv", [rows[0] | failed, *rows[1:]])
    read = records.read(tmp_path / "records.csv")
    assert read["reason"][0] == "the loss became nan"
    assert math.isnan(read["accuracy"][0])
    assert read["per_class"][0] == []
    for found in (
        training_records.missing(read, make_suite(), TASKS),
        training_records.failed(read, make_suite(), TASKS),
    ):
        assert found[training_records.CELL].to_dict("records") == [
            {name: rows[0][name] for name in training_records.CELL}
        ]
    table = accuracy_table(read, make_suite(), TASKS, "last")
    assert "Missing: 1 of 12 trainings, 1 of them failed, with the reason in records.csv (" in table.caption
    assert table.rows[0].tasks[0].mean == rows[1]["accuracy"]


def test_a_header_alone_is_no_record(tmp_path):
    (tmp_path / "records.csv").write_text(",".join(training_records.SCHEMA.names) + "\n")
    empty = records.read(tmp_path / "records.csv")
    assert len(empty) == 0
    assert len(training_records.missing(empty, make_suite(), TASKS)) == 12


def test_a_row_that_could_not_be_read_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"records.csv, line 2, column accuracy: .* not 'nan'"):
        records.write(tmp_path / "records.csv", [make_row("MN->MM", "none", 0, math.nan, per_class=[])])
    assert not (tmp_path / "records.csv").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("12.5,", "nan,", "line 3, column accuracy: expected a percentage from 0 to 100, not 'nan'"),
        ("12.5,", "112.5,", "line 3, column accuracy: expected a percentage from 0 to 100, not '112.5'"),
        ("12.5,", "many,", "line 3, column accuracy: expected a percentage from 0 to 100, not 'many'"),
        ("[12.5, 100.0]", "[12.5, 1e9]", "line 3, column per_class: expected a JSON list of percentages"),
        ("[12.5, 100.0]", "12.5", "line 3, column per_class: expected a JSON list of percentages"),
        ("[12.5, 100.0]", "[12.5", "line 3, column per_class: expected a JSON list of percentages"),
        ("digits_cnn,1", "digits_cnn,-1", "line 3, column seed: expected a whole number from 0, not '-1'"),
        ("digits_cnn,1", "digits_cnn,0", "line 3: repeats the record of line 2; remove one of them"),
        (",1.5,0123,", ",inf,0123,", "line 2, column seconds: expected a number from 0"),
        (",1.5,0123,0.1.0,,done,\n", "\n", "line 2: 11 fields, 17 expected"),
        (",12.5,", ",,", "line 3: a record without accuracy must be of status failed, and no other may be"),
        (
            "0.1.0,,done",
            "0.1.0,,failed",
            "line 2: a record without accuracy must be of status failed, and no other may be",
        ),
        ("0.1.0,,done", "0.1.0,,doing", "line 2, column status: expected done or failed, not 'doing'"),
        ("library", "status", "line 1: the column 'status' stands there more than once"),
        ("accuracy", "precision", "line 1: the column 'accuracy' is missing"),
        ("version,", "seed,", "line 1: the column 'seed' stands there more than once"),
    ],
)
def test_faults_are_named(tmp_path, old, new, said):
    path = tmp_path / "records.csv"
    records.write(path, [make_row("MN->MM", "none", 0, 50.0), make_row("MN->MM", "none", 1, 12.5)])
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError) as error:
        records.read(path)
    assert str(error.value).startswith(f"{path}, {said}")


def test_every_cut_in_mid_line_is_seen(tmp_path: Path):
    path = tmp_path / "records.csv"
    records.write(path, [make_row("MN->MM", "none", 0, 50.0), make_row("MN->MM", "none", 1, 12.5)])
    whole = path.read_text()
    ends = {i + 1 for i, mark in enumerate(whole) if mark == "\n"}
    for length in set(range(len(whole))) - ends:
        path.write_text(whole[:length])
        with pytest.raises(UserError, match=r"records.csv, line \d"):
            records.read(path)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="does not exist: run the suite first"):
        records.read(tmp_path / "records.csv")


def test_missing_and_stray_records(frame):
    suite = make_suite()
    assert training_records.missing(frame, suite, TASKS).empty
    assert training_records.strays(frame, suite, TASKS).empty
    third = make_suite(seeds=[0, 1, 2], augmentations=["none"])
    lacking = training_records.missing(frame, third, TASKS)
    assert list(lacking["task"]) == TASKS
    assert set(lacking["seed"]) == {2}
    assert len(training_records.strays(frame, third, TASKS)) == 8
    assert (
        len(training_records.strays(frame, make_suite(train={"backbone": "other", "iterations": 1}), TASKS))
        == 12
    )


@pytest.mark.parametrize("run", ["small.yaml", "results/mine", "results/mine/records.csv", "mine"])
def test_a_run_of_a_suite_outside_benchmarks_is_found(tmp_path, monkeypatch, run):
    """By its path, its results folder, its records, or the name under which it was run."""
    (tmp_path / "small.yaml").write_text("extends: digits\nname: mine\n")
    file = tmp_path / "results" / "mine" / "records.csv"
    records.write(file, [make_row("MN->MM", "none", 0, 50.0)])
    monkeypatch.chdir(tmp_path)
    assert records.locate(run, tmp_path / "results").resolve() == file
