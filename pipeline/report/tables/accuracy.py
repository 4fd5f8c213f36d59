"""The accuracy table of a suite: one row per method and augmentation, one column per task, the average last.

This module computes; `formats.py` writes the table down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import pandas as pd

from pipeline.config import Suite
from pipeline.report.tables.accuracy_caption import caption
from pipeline.report.tables.names import arrow, augmentation_name, signed
from pipeline.report.training_records import CELL, wanted


@dataclass(frozen=True)
class TableCell:
    """A mean accuracy over seeds, or over tasks and seeds.

    Attributes:
        mean: Percent, or None if there is no record.
        error: Standard error over seeds, or None with fewer than two seeds.
        fewer_seeds: Whether a seed is missing.
        remark: What else stands behind the number, in words.
        place: 1 for the best of its column, 2 for the second best, otherwise 0.
    """

    mean: float | None = None
    error: float | None = None
    fewer_seeds: bool = False
    remark: str = ""
    place: int = 0

    @property
    def number(self) -> str:
        """The mean as printed, to one decimal."""
        return "–" if self.mean is None else f"{self.mean:.1f}"

    @property
    def suffix(self) -> str:
        """The text behind the mean: its error, marks and remark."""
        error = "" if self.error is None else f" ± {self.error:.1f}"
        return error + ("†" if self.fewer_seeds else "") + (f" ({self.remark})" if self.remark else "")


@dataclass(frozen=True)
class Row:
    """One method under one augmentation.

    Attributes:
        method: The method's label.
        augmentation: The augmentation.
        tasks: One cell per column.
        average: The mean of the cells that have a value.
        averaged: The number of columns that the average is over.
        gain: The average minus that of `none`, over the tasks that both have. None for `none` itself, and
            where no
            task is shared.
        runs: The number of trainings behind the row.
        heads_block: Whether this is the first row of its method.
    """

    method: str
    augmentation: str
    tasks: tuple[TableCell, ...]
    average: TableCell
    averaged: int
    gain: float | None
    runs: int
    heads_block: bool

    @property
    def label(self) -> str:
        """The row's name: the method on the first row of its block, the augmentation on the others."""
        made = augmentation_name(self.augmentation)
        added = f"+ {made}" if made else ""
        return f"{self.method} {added}".strip() if self.heads_block else added

    @property
    def cells(self) -> tuple[TableCell, ...]:
        """All cells of the row: the tasks, then the average."""
        return (*self.tasks, self.average)


@dataclass(frozen=True)
class AccuracyTable:
    """The accuracies of one suite under one selection rule."""

    suite: str
    dataset: str
    selection: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    seeds: int
    title: str
    caption: str


def accuracy_table(
    records: pd.DataFrame, suite: Suite, tasks: Sequence[str], selection: str
) -> AccuracyTable:
    """Return the table of `suite` under `selection`, with the columns in the order of `tasks`.

    A cell is the mean over seeds. The average is the mean of the cells of its row; its error is the standard
    error
    over seeds of each seed's own mean over tasks. Records that the suite does not ask for are left out, and
    counted
    in the caption.
    """
    asked = measured(records, suite, tasks, selection)
    what = "Test accuracy on the domain held out" if suite.setting == "dg" else "Target test accuracy"
    what += " in percent"
    if suite.metric == "class_mean":
        what = "Mean of the classes' target test accuracies in percent"

    def values(chosen: pd.DataFrame) -> np.ndarray:
        return by_task_and_seed(chosen, tasks, suite.seeds)

    rows = _rows(suite, asked, values)
    return AccuracyTable(
        suite=suite.name,
        dataset=suite.dataset,
        selection=selection,
        columns=tuple(tasks),
        rows=tuple(_placed(rows)),
        seeds=len(suite.seeds),
        title=suite.title,
        caption=caption(records, suite, tasks, selection, rows, what),
    )


def measured(records: pd.DataFrame, suite: Suite, tasks: Sequence[str], selection: str) -> pd.DataFrame:
    """Return the records that `suite` asks for under `selection`, with `accuracy` by the suite's metric."""
    asked = records.merge(wanted(suite, tasks), on=CELL)
    asked = asked[asked["selection"] == selection]
    if suite.metric == "class_mean":
        asked = asked.assign(accuracy=[_class_mean(shares) for shares in asked["per_class"]])
    return asked


def by_task_and_seed(chosen: pd.DataFrame, tasks: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """Arrange the accuracies of one method and augmentation in a grid.

    Returns:
        Percent [tasks, seeds], NaN where there is no record.

    Raises:
        ValueError: Two records are of the same task and seed.
    """
    grid = np.full((len(tasks), len(seeds)), np.nan)
    of_task = {task: place for place, task in enumerate(tasks)}
    of_seed = {seed: place for place, seed in enumerate(seeds)}
    rows = [of_task[task] for task in chosen["task"].tolist()]
    columns = [of_seed[seed] for seed in chosen["seed"].tolist()]
    if len(set(zip(rows, columns, strict=True))) < len(rows):
        raise ValueError("duplicate records of one task and seed")
    grid[rows, columns] = chosen["accuracy"].to_numpy()
    return grid


def class_table(
    records: pd.DataFrame, suite: Suite, task: str, classes: Sequence[str], selection: str
) -> AccuracyTable:
    """Return the table of one task of `suite` under `selection`: one column per class, their mean last."""
    asked = measured(records, suite, [task], selection)

    def values(chosen: pd.DataFrame) -> np.ndarray:
        of_seed = dict(zip(chosen["seed"], chosen["per_class"], strict=True))
        nothing = [np.nan] * len(classes)
        return np.array([of_seed.get(seed) or nothing for seed in suite.seeds], dtype=float).T

    rows = _rows(suite, asked, values)
    what = "Target test accuracy of each class, and the mean over classes, in percent"
    return AccuracyTable(
        suite=f"{suite.name} {task}",
        dataset=suite.dataset,
        selection=selection,
        columns=tuple(classes),
        rows=tuple(_placed(rows)),
        seeds=len(suite.seeds),
        title=f"{suite.title}: {arrow(task)}",
        caption=caption(records, suite, [task], selection, rows, what),
    )


def _class_mean(shares: Sequence[float]) -> float:
    """The mean over the classes that have test images; NaN if no class has any, or the training failed."""
    known = [share for share in shares if not np.isnan(share)]
    return float(np.mean(known)) if known else np.nan


def _rows(suite: Suite, asked: pd.DataFrame, values: Callable[[pd.DataFrame], np.ndarray]) -> list[Row]:
    """The rows of a table. `values` returns [columns, seeds] of one method and augmentation."""
    rows, groups = [], dict(list(asked.groupby(["method", "augmentation"])))
    for spec in suite.methods:
        method, plain = suite.label(spec), None
        ordered = sorted(suite.augmentations_of(spec), key=lambda name: name != "none")
        for place, augmentation in enumerate(ordered):
            found = values(groups.get((method, augmentation), asked[:0]))
            rows.append(_row(method, augmentation, found, plain, heads_block=place == 0))
            if augmentation == "none":
                plain = found
    return rows


def _row(
    method: str, augmentation: str, values: np.ndarray, plain: np.ndarray | None, heads_block: bool
) -> Row:
    """A row from accuracies [columns, seeds], NaN where missing, and those of `none`, if there are any."""
    cells = [_over_seeds(task) for task in values]
    known = ~np.isnan(values).all(axis=1)
    gain, shared = (None, 0) if plain is None else _gain(values, plain)
    remarks = []
    if 0 < known.sum() < len(known):
        remarks.append(f"{known.sum()} of {len(known)}")
    if gain is not None:
        remarks.append(signed(gain) + (f" on {shared}" if shared < known.sum() else ""))
    average = TableCell()
    if known.any():
        # The mean is that of the cells shown; its error needs seeds that have all of those tasks.
        each_seed = _over_seeds(values[known].mean(axis=0))
        average = TableCell(
            mean=float(np.mean([cell.mean for cell in cells if cell.mean is not None])),
            error=each_seed.error,
            fewer_seeds=any(cell.fewer_seeds for cell in cells),
            remark=", ".join(remarks),
        )
    runs = int((~np.isnan(values)).sum())
    return Row(method, augmentation, tuple(cells), average, int(known.sum()), gain, runs, heads_block)


def _over_seeds(values: np.ndarray) -> TableCell:
    """Mean and standard error of one value per seed; NaN stands for a missing seed."""
    known = values[~np.isnan(values)]
    if not len(known):
        return TableCell()
    error = float(known.std(ddof=1) / sqrt(len(known))) if len(known) > 1 else None
    return TableCell(float(known.mean()), error, fewer_seeds=len(known) < len(values))


def _gain(values: np.ndarray, plain: np.ndarray) -> tuple[float | None, int]:
    """The mean difference over the columns that both have, and the number of these columns."""
    pairs = zip(map(_over_seeds, values), map(_over_seeds, plain), strict=True)
    gains = [
        ours.mean - theirs.mean for ours, theirs in pairs if ours.mean is not None and theirs.mean is not None
    ]
    return (float(np.mean(gains)) if gains else None), len(gains)


def _placed(rows: Sequence[Row]) -> list[Row]:
    """Mark the best and the second best of every column.

    An average over fewer tasks takes no place, because other tasks may be easier.
    """
    columns = [list(column) for column in zip(*(row.tasks for row in rows), strict=True)]
    placed = list(zip(*(_placed_column(column, [True] * len(rows)) for column in columns), strict=True))
    averages = _placed_column([row.average for row in rows], [row.averaged == len(row.tasks) for row in rows])
    return [
        replace(row, tasks=tasks, average=average)
        for row, tasks, average in zip(rows, placed, averages, strict=True)
    ]


def _placed_column(cells: Sequence[TableCell], allowed: Sequence[bool]) -> list[TableCell]:
    """Give places 1 and 2 in one column where two or more compete; numbers that print alike share a place."""
    competing = [may and cell.mean is not None for cell, may in zip(cells, allowed, strict=True)]
    numbers = [cell.number for cell, competes in zip(cells, competing, strict=True) if competes]
    if len(numbers) < 2:
        return list(cells)
    first_two = sorted(set(numbers), key=float, reverse=True)[:2]
    return [
        replace(cell, place=first_two.index(cell.number) + 1)
        if competes and cell.number in first_two
        else cell
        for cell, competes in zip(cells, competing, strict=True)
    ]
