"""Read files of published figures: accuracies that papers report.

They are CSV files under `results/published/`; users may add their own.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pipeline.core.errors import UserError
from pipeline.core.paths import base_folder, shipped_folder
from pipeline.core.store import check_regular

COLUMNS = ("dataset", "setting", "method", "backbone", "task", "accuracy", "selection", "source")
"""Required columns of a file of published figures. An optional column `augmentation` defaults to `none`."""


def files() -> list[Path]:
    """Return the files of published figures: those of the project, and the user's in results/published."""
    folders = dict.fromkeys((shipped_folder("published"), base_folder() / "results" / "published"))
    return [path for folder in folders for path in sorted(folder.glob("*.csv"))]


def read_all(paths: Iterable[Path]) -> pd.DataFrame:
    """Read the published figures in CSV files.

    Raises:
        UserError: A file is not as it has to be; the message names file, line and column.
    """
    rows: list[dict[str, str | float]] = []
    first: dict[tuple, str] = {}
    for path in paths:
        for line, row in _rows(path):
            where = f"{path}, line {line}"
            identity = tuple(value for name, value in row.items() if name != "accuracy")
            if identity in first:
                raise UserError(f"{where}: repeats the figure of {first[identity]}; remove one of them")
            first[identity] = where
            rows.append(row)
    return pd.DataFrame(rows, columns=[*COLUMNS, "augmentation"])


def _rows(path: Path) -> list[tuple[int, dict[str, str | float]]]:
    """The checked lines of a file, each with its line number from 1."""
    try:
        check_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets put a mark before UTF-8
            lines = csv.DictReader(file, strict=True)
            header = lines.fieldnames or []
            for name in COLUMNS:
                if name not in header:
                    needed = ", ".join(COLUMNS)
                    raise UserError(
                        f"{path}, line 1: the column {name!r} is missing; the first line has to name {needed}"
                    )
            return [(lines.line_num, _row(line, f"{path}, line {lines.line_num}")) for line in lines]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise UserError(
            f"{path}, line {lines.line_num}: invalid CSV: {error}; save it as CSV again"
        ) from error


def _row(line: dict[str | None, str | None], where: str) -> dict[str, str | float]:
    if None in line or None in line.values():
        raise UserError(
            f"{where}: not as many fields as the first line names; put texts with commas in quotes"
        )
    row: dict[str, str | float] = {name: str(line[name]).strip() for name in COLUMNS}
    empty = next((name for name, value in row.items() if not value), None)
    if empty:
        raise UserError(f"{where}, column {empty}: empty; fill it in, or remove the line")
    row["augmentation"] = str(line.get("augmentation") or "none")
    try:
        accuracy = float(line["accuracy"] or "")
        if not 0 <= accuracy <= 100:  # NaN fails this too
            raise ValueError(accuracy)
    except ValueError as error:
        raise UserError(
            f"{where}, column accuracy: expected a percentage from 0 to 100, not {str(line['accuracy'])!r}; "
            "correct it, or remove the line"
        ) from error
    return row | {"accuracy": accuracy}
