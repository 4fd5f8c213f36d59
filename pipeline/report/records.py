"""records.csv: one row per training and selection rule, the one source of every table."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config import Suite, read_suite
from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic

COLUMNS = [
    "suite",
    "dataset",
    "setting",
    "task",
    "method",
    "augmentation",
    "backbone",
    "seed",
    "selection",
    "accuracy",
    "per_class",
    "seconds",
    "key",
    "version",
]
"""The columns that every records.csv has, in order. A file may hold more; they are kept as text."""

LATER = {"library": "", "status": "done", "reason": ""}
"""Columns that are written after those, and what stands for them where a file from before them has none.

library: the package and version that the method's losses are from. status: done, or failed, for a training
that
came to no accuracy. reason: why it failed.
"""

CELL = ["suite", "dataset", "setting", "task", "method", "augmentation", "backbone", "seed", "selection"]
"""What tells one record from another."""

FAILED = "failed"

_WHOLE_FILE = "run the suite again to have the file written anew"


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows`, each with COLUMNS and at will those of LATER, to `path` in one step.

    accuracy: percent, None if the training failed; per_class: list of percents, NaN or None for a class
        without test images. Numbers keep
    full precision. Raises UserError, and writes nothing, for rows that `read` would refuse.
    """
    file = io.StringIO()
    table = csv.DictWriter(file, [*COLUMNS, *LATER], lineterminator="\n")
    table.writeheader()
    for row in rows:
        per_class = [
            None if value is None or math.isnan(value) else float(value) for value in row["per_class"]
        ]
        given = {name: row[name] for name in COLUMNS}
        table.writerow(LATER | given | row | {"per_class": json.dumps(per_class)})
    _parse(file.getvalue(), path)
    write_atomic(path, file.getvalue())


def read(path: Path) -> pd.DataFrame:
    """The records at `path`: seed int, accuracy and seconds float, per_class lists of float, all else str.

    Raises UserError with file, line and column for a file that is cut off, a value out of range, or a record
    that stands there twice.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: run the suite first") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return _parse(text, path)


def locate(given: str, results: Path) -> Path:
    """The records that a user names: a records file, a folder that has one, or a suite, whose folder is under `results`."""
    path = Path(given)
    if path.is_dir():
        return path / "records.csv"
    if path.suffix == ".csv":
        return path
    try:
        return results / read_suite(given).name / "records.csv"
    except UserError as error:
        raise UserError(f"{given!r} is no results folder, no records.csv and no suite: {error}") from error


def wanted(suite: Suite, tasks: Sequence[str]) -> pd.DataFrame:
    """What `suite` on `tasks` asks for: a frame of the columns CELL, in the order of the suite."""
    named = [(suite.label(method), suite.train_settings(method).backbone) for method in suite.methods]
    grid = product(tasks, named, suite.augmentations, suite.seeds, suite.selections)
    rows = [
        (task, method, augmentation, backbone, seed, selection)
        for task, (method, backbone), augmentation, seed, selection in grid
    ]
    same = {"suite": suite.name, "dataset": suite.dataset, "setting": suite.setting}
    return pd.DataFrame(rows, columns=[name for name in CELL if name not in same]).assign(**same)[CELL]


def missing(records: pd.DataFrame, suite: Suite, tasks: Sequence[str]) -> pd.DataFrame:
    """The records that `suite` on `tasks` still lacks: a frame of the columns CELL, empty when complete."""
    return _only_in_first(wanted(suite, tasks), records[records["accuracy"].notna()])


def failed(records: pd.DataFrame, suite: Suite, tasks: Sequence[str]) -> pd.DataFrame:
    """Of the records that `suite` on `tasks` asks for those of trainings that failed."""
    return records[records["accuracy"].isna()].merge(wanted(suite, tasks), on=CELL)


def strays(records: pd.DataFrame, suite: Suite, tasks: Sequence[str]) -> pd.DataFrame:
    """The records that `suite` as it is now does not ask for, such as those of a method since taken out."""
    return _only_in_first(records, wanted(suite, tasks))


def _only_in_first(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    both = first[CELL].merge(second[CELL], how="left", on=CELL, indicator="found")
    return both.loc[both["found"] == "left_only", CELL].reset_index(drop=True)


def _parse(text: str, path: Path) -> pd.DataFrame:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    rows: list[dict[str, Any]] = []
    first: dict[tuple, int] = {}
    try:
        header = _header(next(lines, []), path)
        for fields in lines:
            where = f"{path}, line {lines.line_num}"
            if len(fields) != len(header):
                raise UserError(f"{where}: {len(fields)} fields, {len(header)} expected; {_WHOLE_FILE}")
            row = LATER | {n: _value(n, field, where) for n, field in zip(header, fields, strict=True)}
            if math.isnan(row["accuracy"]) != (row["status"] == FAILED):
                raise UserError(f"{where}: a record without accuracy is a failed one, and no other is")
            identity = tuple(row[name] for name in CELL)
            if identity in first:
                raise UserError(f"{where}: repeats the record of line {first[identity]}; remove one of them")
            first[identity] = lines.line_num
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: invalid CSV: {error}; {_WHOLE_FILE}") from error
    if not text.endswith("\n"):
        raise UserError(f"{path}, line {lines.line_num}: cut off, for it has no line end; {_WHOLE_FILE}")
    columns = [*header, *(name for name in LATER if name not in header)]
    return pd.DataFrame(rows, columns=columns).astype({"seed": "int64", "accuracy": float, "seconds": float})


def _header(fields: list[str], path: Path) -> list[str]:
    if "PPL" in fields:
        raise UserError(
            f"{path} holds scores of morphs, which have tables of their own; expected records of trainings"
        )
    for name in [*COLUMNS, *LATER]:
        if fields.count(name) != 1 and (name in COLUMNS or name in fields):
            fault = "is missing" if name not in fields else "stands there more than once"
            raise UserError(f"{path}, line 1: the column {name!r} {fault}; {_WHOLE_FILE}")
    return fields


def _value(column: str, field: str, where: str) -> Any:
    """The value of one field, checked."""
    if column not in _CHECKED:
        return field
    parse, expected = _CHECKED[column]
    try:
        return parse(field)
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}, column {column}: expected {expected}, not {field[:40]!r}") from error


def _percentage(field: str | float) -> float:
    value = float(field)
    if not 0 <= value <= 100:  # not a number fails this too
        raise ValueError(field)
    return value


def _accuracy(field: str) -> float:
    return math.nan if field == "" else _percentage(field)


def _not_negative(field: str) -> float:
    value = float(field)
    if not 0 <= value < math.inf:
        raise ValueError(field)
    return value


def _seed(field: str) -> int:
    value = int(field)
    if value < 0:
        raise ValueError(field)
    return value


def _status(field: str) -> str:
    if field not in ("done", FAILED):
        raise ValueError(field)
    return field


def _per_class(field: str) -> list[float]:
    value = json.loads(field)
    if not isinstance(value, list):
        raise TypeError(field)
    return [math.nan if share is None else _percentage(share) for share in value]


_CHECKED: dict[str, tuple[Callable[[str], Any], str]] = {
    "seed": (_seed, "a whole number from 0"),
    "accuracy": (_accuracy, "a percentage from 0 to 100"),
    "status": (_status, "done or failed"),
    "per_class": (_per_class, "a JSON list of percentages"),
    "seconds": (_not_negative, "a number from 0"),
}
"""The columns that are not plain text: how each is read, and what is expected there."""
