"""Records in other programs' forms hold the same numbers; a form whose package is missing names it."""

import json
import math
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from pipeline.core.errors import UserError
from pipeline.report import records
from pipeline.report.tables import export
from tests.report.report_samples import CLASSES, GRID, TASKS, make_row


@pytest.fixture
def file(tmp_path, rows):
    failed = {"status": "failed", "reason": "the loss became nan", "accuracy": None, "per_class": []}
    shares = [10.0, math.nan, 30.0]
    kept = [rows[0] | {"per_class": shares}, rows[1] | failed, *rows[2:]]
    records.write(tmp_path / "records.csv", kept)
    return tmp_path / "records.csv"


def test_one_accuracy_a_row(file, tmp_path, rows):
    export.export(records.read(file), file, str(tmp_path / "all.csv"))
    table = pd.read_csv(tmp_path / "all.csv")
    first = table[
        (table["task"] == rows[0]["task"]) & (table["augmentation"] == "none") & (table["seed"] == 0)
    ]
    assert list(first["class"]) == ["all", *CLASSES[:3]]
    assert list(first["accuracy"].fillna(-1)) == [rows[0]["accuracy"], 10.0, -1, 30.0]
    assert list(table[table["status"] == "failed"]["class"]) == ["all"]
    assert len(table) == 4 + 1 + 6 * (len(rows) - 2)
    assert "per_class" not in table


def test_classes_have_numbers_where_no_card_names_them(rows):
    frame = pd.DataFrame([make_row("A->B", "none", 0, 1.0, dataset="no_such_card")])
    assert list(export.tidy_accuracies(frame)["class"]) == ["all", "0", "1"]


def test_parquet_read_by_pandas(file, tmp_path, rows):
    pytest.importorskip("pyarrow")
    export.export(records.read(file), file, str(tmp_path / "all.parquet"))
    table = pd.read_parquet(tmp_path / "all.parquet")
    assert pd.api.types.is_integer_dtype(table["seed"])
    assert pd.api.types.is_float_dtype(table["accuracy"])
    last = rows[-1]
    mine = table[(table["task"] == last["task"]) & (table["augmentation"] == last["augmentation"])]
    mine = mine[mine["seed"] == last["seed"]].set_index("class")["accuracy"]
    assert mine.to_dict() == {"all": last["accuracy"]} | dict(zip(CLASSES, last["per_class"], strict=True))
    failed = table[table["status"] == "failed"]
    assert list(failed["class"]) == ["all"]
    assert failed["accuracy"].isna().all()
    assert list(failed["reason"]) == ["the loss became nan"]


def test_curves_have_the_seed_as_their_step(frame):
    curves = dict(export.accuracy_curves(frame))
    assert list(curves) == [f"small_suite/{row} (digits_cnn)" for row in ("ERM", "ERM + base", "ERM + Terra")]
    assert curves["small_suite/ERM (digits_cnn)"] == {
        0: {"last/MN->MM": 30.0, "last/MN->UC": 60.0},
        1: {"last/MN->MM": 32.0, "last/MN->UC": 61.2},
    }


def test_event_files_read_by_tensorboard(frame, file, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = export.export(frame, file, f"tensorboard:{tmp_path / 'board'}")
    assert len({path.parent for path in folder.rglob("events.out.tfevents.*")}) == 3
    for augmentation, name in (("none", "ERM"), ("base", "ERM + base"), ("terra", "ERM + Terra")):
        read = EventAccumulator(str(folder / "small_suite" / f"{name} (digits_cnn)")).Reload()
        assert read.Tags()["scalars"] == [f"last/{task}" for task in TASKS]
        for task in TASKS:
            events = [(event.step, event.value) for event in read.Scalars(f"last/{task}")]
            assert events == [
                (seed, pytest.approx(value)) for seed, value in enumerate(GRID[augmentation, task])
            ]


def test_a_run_stays_in_the_folder_whatever_the_backbone_is_called(tmp_path, monkeypatch):
    folders = []

    class Writer:
        def __init__(self, folder: str) -> None:
            folders.append(Path(folder))

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(export, "needed", lambda *_: SimpleNamespace(EventFileWriter=Writer))
    export.to_tensorboard([("mine/ERM (../../../escaped)", {}), ("mine/ERM (timm/resnet50)", {})], tmp_path)
    assert folders == [tmp_path / "mine" / f"ERM ({name})" for name in ("..-..-..-escaped", "timm-resnet50")]


def wandb_records(path: Path) -> list[bytes]:
    """The records of an offline run: seven bytes, then blocks of 32 KiB of (checksum, length, kind, data)."""
    data, place, found = path.read_bytes(), 7, [b""]
    assert data.startswith(b":W&B")
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        found[-1] += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole one, or the last piece
            found.append(b"")
    return found[:-1]


def test_offline_runs_of_weights_and_biases_hold_the_numbers(frame, file, tmp_path):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    folder = export.export(frame, file, f"wandb:{tmp_path / 'wandb'}")
    seen = {}
    for path in folder.rglob("*.wandb"):
        records_of_run = [Record.FromString(data) for data in wandb_records(path)]
        (run,) = [record.run for record in records_of_run if record.HasField("run")]
        assert run.project == "small_suite"
        steps = [
            {
                "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                for item in record.history.item
            }
            for record in records_of_run
            if record.HasField("history")
        ]
        seen[run.display_name] = [{task: step[f"last/{task}"] for task in TASKS} for step in steps]
    assert seen == {
        f"{name} (digits_cnn)": [{task: GRID[augmentation, task][seed] for task in TASKS} for seed in (0, 1)]
        for augmentation, name in (("none", "ERM"), ("base", "ERM + base"), ("terra", "ERM + Terra"))
    }


@pytest.mark.parametrize(
    ("to", "package"),
    [("all.parquet", "pyarrow"), ("tensorboard:board", "tensorboard"), ("wandb:runs", "wandb")],
)
def test_a_missing_package_is_named(frame, file, tmp_path, monkeypatch, to, package):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs the package {package}: pip install {package}$"):
        export.export(frame, file, to)


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("all.xlsx", "expected FILE.csv"),
        ("records.csv", "the records themselves"),
        ("tensorboard:.", "new or empty"),
    ],
)
def test_places_that_cannot_be(frame, file, tmp_path, monkeypatch, to, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        export.export(frame, file, to)
