"""The records of trainings: one for each training and selection rule, and which of them a suite asks for."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd

from pipeline.config import Suite
from pipeline.report.schema import (
    REASON,
    SECONDS,
    STATUS,
    Column,
    Measure,
    Schema,
    names,
    optional,
    whole_number,
)
from pipeline.report.tables.names import arrow, row_name

CELL = ["suite", "dataset", "setting", "task", "method", "augmentation", "backbone", "seed", "selection"]
"""The columns that tell one record from another."""


def percentage(value: str | float) -> float:
    """Parse a percentage.

    Raises:
        ValueError: It is not from 0 to 100.
    """
    share = float(value)
    if not 0 <= share <= 100:  # NaN fails this too
        raise ValueError(value)
    return share


def _shares(text: str) -> list[float]:
    """The accuracies of the classes; null for a class without test images."""
    value = json.loads(text)
    if not isinstance(value, list):
        raise TypeError(text)
    return [math.nan if share is None else percentage(share) for share in value]


def _shares_as_text(shares: Sequence[float | None]) -> str:
    return json.dumps([None if share is None or math.isnan(share) else float(share) for share in shares])


def _accuracy_as_text(accuracy: float | None) -> Any:
    return (
        "" if accuracy is None else accuracy
    )  # NaN stays, and is refused: only a failed training has no accuracy


def cell_name(cell: Mapping[Any, Any]) -> str:
    """Return the name of a cell: `MN→MM MCC + Terra (digits_cnn, last)`."""
    row = row_name(cell["method"], cell["augmentation"])
    return f"{arrow(cell['task'])} {row} ({cell['backbone']}, {cell['selection']})"


SCHEMA = Schema(
    columns=(
        *names("suite", "dataset"),
        *map(Column, ("setting", "task")),
        *names("method", "augmentation"),
        Column("backbone"),
        Column("seed", whole_number, "a whole number from 0", dtype="int64"),
        Column("selection"),
        Column(
            "accuracy", optional(percentage), "a percentage from 0 to 100", _accuracy_as_text, dtype="float64"
        ),
        Column("per_class", _shares, "a JSON list of percentages", _shares_as_text),
        SECONDS,
        Column("key"),
        Column("version"),
        Column("library", default=""),
        STATUS,
        REASON,
    ),
    identity=tuple(CELL),
    measures=(Measure("accuracy", higher_is_better=True),),
    unit="training",
    cell_name=cell_name,
    variants=("selection",),
)
"""`library` names the package and version that the method's losses are from; `reason` tells why a training
failed.
"""


def wanted(suite: Suite, tasks: Sequence[str]) -> pd.DataFrame:
    """Return what `suite` asks for on `tasks`: the columns `CELL`, in the order of the suite."""
    named = [
        (suite.label(method), augmentation, suite.backbone_of(method))
        for method in suite.methods
        for augmentation in suite.augmentations_of(method)
    ]
    rows = [
        (task, *name, seed, selection)
        for task, name, seed, selection in product(tasks, named, suite.seeds, suite.selections)
    ]
    same = {"suite": suite.name, "dataset": suite.dataset, "setting": suite.setting}
    return pd.DataFrame(rows, columns=[name for name in CELL if name not in same]).assign(**same)[CELL]


def missing(records: pd.DataFrame, suite: Suite, tasks: Sequence[str]) -> pd.DataFrame:
    """Return the records that `suite` still lacks on `tasks`: the columns `CELL`, empty when complete."""
    return _only_in_first(wanted(suite, tasks), records[records["accuracy"].notna()])


def failed(records: pd.DataFrame, suite: Suite, tasks: Sequence[str]) -> pd.DataFrame:
    """Return the records of failed trainings among those that `suite` asks for on `tasks`."""
    return records[records["accuracy"].isna()].merge(wanted(suite, tasks), on=CELL)


def strays(records: pd.DataFrame, suite: Suite, tasks: Sequence[str]) -> pd.DataFrame:
    """Return the records that `suite` does not ask for, for example those of a method that was removed."""
    return _only_in_first(records, wanted(suite, tasks))


def _only_in_first(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    both = first[CELL].merge(second[CELL], how="left", on=CELL, indicator="found")
    return both.loc[both["found"] == "left_only", CELL].reset_index(drop=True)
