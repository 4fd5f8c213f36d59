"""Records in other programs' forms hold the same numbers; a form whose package is missing names it."""

import math
import sys

import pandas as pd
import pytest
from report_samples import CLASSES, make_row

from pipeline.errors import UserError
from pipeline.report import export, records


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
    assert len(table) == 4 + 1 + 6 * (len(rows) - 2) and "per_class" not in table


def test_classes_have_numbers_where_no_card_names_them(rows):
    frame = pd.DataFrame([make_row("A->B", "none", 0, 1.0, dataset="no_such_card")])
    assert list(export.tidy(frame)["class"]) == ["all", "0", "1"]


def test_parquet(file, tmp_path):
    pytest.importorskip("pyarrow")
    export.export(records.read(file), file, str(tmp_path / "all.parquet"))
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "all.parquet"), export.tidy(records.read(file)), check_dtype=False
    )


def test_curves_have_the_seed_as_their_step(frame):
    curves = dict(export.curves(frame))
    assert list(curves) == [f"small_suite/{row} (digits_cnn)" for row in ("ERM", "ERM + base", "ERM + Terra")]
    assert curves["small_suite/ERM (digits_cnn)"] == {
        0: {"last/MN->MM": 30.0, "last/MN->UC": 60.0},
        1: {"last/MN->MM": 32.0, "last/MN->UC": 61.2},
    }


def test_tensorboard(frame, file, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = export.export(frame, file, f"tensorboard:{tmp_path / 'board'}")
    read = EventAccumulator(str(folder / "small_suite" / "ERM + Terra (digits_cnn)")).Reload()
    values = [(event.step, round(event.value, 4)) for event in read.Scalars("last/MN->UC")]
    assert values == [(0, 80.0), (1, 90.2)]


def test_wandb(frame, file, tmp_path):
    pytest.importorskip("wandb")
    folder = export.export(frame, file, f"wandb:{tmp_path / 'wandb'}")
    assert len(list(folder.rglob("*.wandb"))) == 3


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


@pytest.mark.parametrize(("to", "said"), [("all.xlsx", "expected FILE.csv"), ("records.csv", "the records themselves"),
                                          ("tensorboard:.", "new or empty")])  # fmt: skip
def test_places_that_cannot_be(frame, file, tmp_path, monkeypatch, to, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        export.export(frame, file, to)
