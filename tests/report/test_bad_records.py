"""Faulty records: an error that names the place, or a message of what was done."""

import json
from pathlib import Path

import pytest

from pipeline import cli, config
from pipeline.core.paths import ROOT
from pipeline.core.store import Store
from pipeline.planning.graph import Cell, make_plan
from pipeline.report import records
from tests.report.report_samples import make_row


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of one task, one method, two augmentations and two seeds."""
    lines = [
        "extends: digits",
        "name: small",
        "tasks: [MN->MM]",
        "methods: [ERM]",
        "augmentations: [none, terra]",
        "seeds: [0, 1]",
        "selections: [last, oracle]",
    ]
    (tmp_path / "small.yaml").write_text("\n".join([*lines, ""]))
    return tmp_path / "small.yaml"


@pytest.fixture
def cells(suite: Path) -> list[Cell]:
    read = config.read_suite(str(suite))
    return list(make_plan(read, config.read_card("digits"), config.resolve_base_model(read.base_model)).cells)


def row(cell: Cell, selection: str, accuracy: float = 50.0, **changes: object) -> dict:
    plain = {"suite": "small", "selection": selection, "key": cell.job.key, "per_class": [accuracy] * 10}
    return make_row(cell.task, cell.augmentation, cell.seed, accuracy, **(plain | changes))


def write_records(folder: Path, cells: list[Cell], **changes: object) -> Path:
    (folder / "small").mkdir(exist_ok=True)
    file = folder / "small" / "records.csv"
    records.write(file, [row(cell, rule, **changes) for cell in cells for rule in ("last", "oracle")])
    return file


def write_artifact(store: Store, cell: Cell, accuracy: float) -> None:
    """What a training leaves, as far as records are drawn from it."""
    folder = store.path("train", cell.job.key)
    folder.mkdir(parents=True)
    rows = [row(cell, rule, accuracy) for rule in ("last", "oracle")]
    (folder / "records.json").write_text(json.dumps(rows))
    (folder / "manifest.json").write_text(
        json.dumps({"seconds": 1.0, "files": {}, "made_with": {"python": "3.99"}})
    )


@pytest.fixture
def tables(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Runs `tables`; its exit code and what it says on standard error. Pictures are tested elsewhere."""
    monkeypatch.setattr("pipeline.report.write.write_figures", lambda *_: [])

    def run() -> tuple[int, str]:
        options = ["--store", str(tmp_path / "store"), "--results", str(tmp_path)]
        return cli.main(["tables", str(suite), *options]), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:-30], "line 9: "),
        (
            lambda text: text + text.splitlines()[-1] + "\n",
            "line 10: repeats the record of line 9; remove one of them",
        ),
        (
            lambda text: text.replace(",50.0,", ",nan,", 1),
            "line 2, column accuracy: expected a percentage from 0 to 100, not 'nan'",
        ),
    ],
    ids=["cut off", "repeated", "not a number"],
)
@pytest.mark.parametrize("command", ["tables", "report"])
def test_a_file_that_is_wrong_is_named_and_nothing_is_drawn(
    tables, cells, tmp_path, capsys, spoil, said, command
):
    file = write_records(tmp_path, cells)
    file.write_text(spoil(file.read_text()))
    before = file.read_text()
    code, told = (
        tables() if command == "tables" else (cli.main(["report", str(file.parent)]), capsys.readouterr().err)
    )
    assert code == 2
    assert told.startswith(f"error: {file}, {said}")
    assert [path.name for path in file.parent.iterdir()] == ["records.csv"]
    assert file.read_text() == before


def test_a_file_that_is_cut_off_is_written_anew_from_the_store(tables, cells, tmp_path):
    file, store = write_records(tmp_path, cells, version="0.0.1"), Store(tmp_path / "store")
    whole = file.read_text()
    file.write_text(whole[:-30])
    for cell in cells:
        write_artifact(store, cell, 50.0)
    code, said = tables()
    assert code == 0
    assert f"{file}, line 9: " in said
    assert "done now, from the artifacts in the store alone" in said
    assert len(records.read(file)) == 8


def test_records_whose_artifacts_are_gone_are_kept(tables, cells, tmp_path):
    """The store has the first and third training, with another accuracy than the file; the file has all."""
    file, store = write_records(tmp_path, cells), Store(tmp_path / "store")
    for cell in cells[::2]:
        write_artifact(store, cell, 60.0)
    code, said = tables()
    assert code == 0
    assert f"4 records in {file} are of trainings whose artifacts are gone from the store: kept" in said
    found = records.read(file)
    assert list(found["accuracy"]) == [60.0, 60.0, 50.0, 50.0] * 2
    assert list(found["key"]) == [cell.job.key for cell in cells for _ in range(2)]
    page = (file.parent / "index.html").read_text()
    assert "2 of 4" in page
    assert "3.99" in page


def test_without_any_artifact_the_file_is_left_as_it_is(tables, cells, tmp_path):
    file = write_records(tmp_path, cells)
    before = file.read_bytes()
    code, said = tables()
    assert code == 0
    assert f"no training of small is in the store; drawn from {file} alone" in said
    assert file.read_bytes() == before
    assert (file.parent / "tables" / "accuracy_last.md").exists()
    page = (file.parent / "index.html").read_text()
    assert "The time of\nthe other stages is unknown" in page
    assert "is unknown: the artifacts do not tell" in page


def test_times_that_are_known_outlive_the_store(tables, cells, tmp_path):
    file, store = write_records(tmp_path, cells), Store(tmp_path / "store")
    for cell in cells:
        write_artifact(store, cell, 50.0)
    tables()
    told = json.loads((file.parent / "run.json").read_text())
    assert told["made_with"] == {"python": {"3.99": 4}}
    assert told["stages"][-1]["seconds"] == 4.0
    for cell in cells:
        store.discard("train", cell.job.key)
    tables()
    assert json.loads((file.parent / "run.json").read_text()) == told


def test_records_of_other_settings_are_left_out_and_said(tables, cells, tmp_path):
    file, store = write_records(tmp_path, cells, key="of_other_settings"), Store(tmp_path / "store")
    write_artifact(store, cells[0], 60.0)
    code, said = tables()
    assert code == 0
    assert f"8 records that were in {file} are left out" in said
    assert len(records.read(file)) == 2
    assert (
        "Missing: 3 of 4 trainings"
        in (file.parent / "tables" / "accuracy_last.csv").with_suffix(".md").read_text()
    )


def test_records_of_different_versions_are_told_of(tables, cells, tmp_path):
    file = write_records(tmp_path, cells[:2], version="0.0.1")
    older = records.read(file).to_dict("records")
    write_records(tmp_path, cells[2:])
    records.write(file, older + records.read(file).to_dict("records"))
    assert tables()[0] == 0
    said = "Made by different versions of Terra-bench, which may not be alike: 0.0.1, 0.1.0."
    for form in ("md", "html"):
        assert said in (file.parent / "tables" / f"accuracy_last.{form}").read_text()
    assert said in (file.parent / "index.html").read_text()


def test_morphs_are_not_compared_with_trainings(capsys: pytest.CaptureFixture[str]) -> None:
    reference = ROOT / "results" / "reference"
    assert cli.main(["compare", str(reference / "morph"), str(reference / "digits")]) == 2
    assert (
        "run A holds records of morph methods, run B of trainings; compare two runs of one kind"
        in capsys.readouterr().err
    )


def test_a_run_json_that_cannot_be_read_is_written_anew(tables, tmp_path, cells):
    """Before, `tables` ended in the error that told the user to call `tables`."""
    file = write_records(tmp_path, cells)
    run_json = file.with_name("run.json")
    run_json.write_text('{"suite": 1}')
    code, errors = tables()
    assert code == 0
    assert f"{run_json} cannot be read" in errors
    assert json.loads(run_json.read_text())["suite"]["name"] == "small"
