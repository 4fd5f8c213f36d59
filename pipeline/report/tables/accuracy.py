"""The accuracies of a suite as a table: methods down, tasks across, the average last, best and second marked.

What is computed here is written down by tables.py, which computes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import pandas as pd

from pipeline.config import Suite
from pipeline.report.records import CELL, failed, missing, strays, wanted

RULES = {
    "last": "last iterate",
    "source": "source (best on held-out source images)",
    "unsupervised": "unsupervised (chosen without the target's labels)",
    "oracle": "oracle (chosen on the target's test labels)",
}
"""How the checkpoint whose accuracy is shown was selected; the oracle is named with what it looked at."""

MADE = {
    "none": "",
    "base": "base",
    "terra": "Terra",
    "lora": "LoRA",
    "lorweb": "LoRWeB",
    "lora_interp": "LoRA interpolation",
    "diffmorpher": "DiffMorpher",
}
"""The augmentations as tables print them."""


def shown(augmentation: str) -> str:
    """An augmentation as tables print it: an adapter of a suite's own goes by its name."""
    return MADE.get(augmentation, augmentation)


@dataclass(frozen=True)
class Cell:
    """One mean accuracy over seeds, or over tasks and seeds.

    mean: percent, None if there is no record. error: standard error over seeds, None with fewer than two.
    fewer_seeds: whether a seed is missing. remark: what else belongs behind the number, in words.
    place: 1 for the best of its column, 2 for the second, 0 for the others.
    """

    mean: float | None = None
    error: float | None = None
    fewer_seeds: bool = False
    remark: str = ""
    place: int = 0

    @property
    def number(self) -> str:
        """The mean as shown, to one decimal."""
        return "–" if self.mean is None else f"{self.mean:.1f}"

    @property
    def rest(self) -> str:
        """What is shown behind the mean."""
        error = "" if self.error is None else f" ± {self.error:.1f}"
        return error + ("†" if self.fewer_seeds else "") + (f" ({self.remark})" if self.remark else "")


@dataclass(frozen=True)
class Row:
    """One method under one augmentation.

    averaged: how many tasks the average is over. gain: by how much the average is above that of `none`, on
    the tasks that both have; None for `none` itself and where no task is shared. runs: trainings behind it.
    """

    method: str
    augmentation: str
    tasks: tuple[Cell, ...]
    average: Cell
    averaged: int
    gain: float | None
    runs: int
    heads_block: bool

    @property
    def label(self) -> str:
        """The method's name on the first row of its block, what was added to its training on the others."""
        made = shown(self.augmentation)
        added = f"+ {made}" if made else ""
        return f"{self.method} {added}".strip() if self.heads_block else added

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells across: the tasks, then the average."""
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


def short_rule(selection: str) -> str:
    """A selection rule as titles name it: without what it looked at."""
    return RULES[selection].split(" (")[0]


def accuracy_table(
    records: pd.DataFrame, suite: Suite, tasks: Sequence[str], selection: str
) -> AccuracyTable:
    """The table of `suite` under `selection`, `tasks` across in the order given.

    A cell is the mean over seeds. The average is the mean of the cells beside it, its error the standard
    error over seeds of each seed's own mean over tasks. Records that the suite does not ask for are left out
    and counted in the caption.
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
        caption=_caption(records, suite, tasks, selection, rows, what),
    )


def measured(records: pd.DataFrame, suite: Suite, tasks: Sequence[str], selection: str) -> pd.DataFrame:
    """The records that `suite` asks for under `selection`, with `accuracy` as the suite's metric has it."""
    asked = records.merge(wanted(suite, tasks), on=CELL)
    asked = asked[asked["selection"] == selection]
    if suite.metric == "class_mean":
        asked = asked.assign(accuracy=[_class_mean(shares) for shares in asked["per_class"]])
    return asked


def by_task_and_seed(chosen: pd.DataFrame, tasks: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """The accuracies of one method and augmentation, [tasks, seeds], NaN where there is none.

    Raises ValueError for two of one task and seed.
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
    """The table of one task of `suite` under `selection`, `classes` across and their mean last."""
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
        title=f"{suite.title}: {task.replace('->', '→')}",
        caption=_caption(records, suite, [task], selection, rows, what),
    )


def _class_mean(shares: Sequence[float]) -> float:
    """The mean over the classes that have test images; NaN if none has, or the training failed."""
    there = [share for share in shares if not np.isnan(share)]
    return float(np.mean(there)) if there else np.nan


def _rows(suite: Suite, asked: pd.DataFrame, values: Callable[[pd.DataFrame], np.ndarray]) -> list[Row]:
    """The rows of a table: `values` gives those of one method and augmentation, [columns, seeds]."""
    rows, groups = [], dict(list(asked.groupby(["method", "augmentation"])))
    for method in map(suite.label, suite.methods):
        plain: np.ndarray | None = None
        for place, augmentation in enumerate(sorted(suite.augmentations, key=lambda name: name != "none")):
            found = values(groups.get((method, augmentation), asked[:0]))
            rows.append(_row(method, augmentation, found, plain, heads_block=place == 0))
            if augmentation == "none":
                plain = found
    return rows


def _row(
    method: str, augmentation: str, values: np.ndarray, plain: np.ndarray | None, heads_block: bool
) -> Row:
    """A row from accuracies [tasks, seeds], NaN where there is none, and those of `none` or None."""
    cells = [_over_seeds(task) for task in values]
    there = ~np.isnan(values).all(axis=1)
    gain, shared = (None, 0) if plain is None else _gain(values, plain)
    remarks = []
    if 0 < there.sum() < len(there):
        remarks.append(f"{there.sum()} of {len(there)}")
    if gain is not None:
        remarks.append(signed(gain) + (f" on {shared}" if shared < there.sum() else ""))
    average = Cell()
    if there.any():
        # The mean is that of the cells shown; its error needs seeds that have all of those tasks.
        each_seed = _over_seeds(values[there].mean(axis=0))
        average = Cell(
            mean=float(np.mean([cell.mean for cell in cells if cell.mean is not None])),
            error=each_seed.error,
            fewer_seeds=any(cell.fewer_seeds for cell in cells),
            remark=", ".join(remarks),
        )
    runs = int((~np.isnan(values)).sum())
    return Row(method, augmentation, tuple(cells), average, int(there.sum()), gain, runs, heads_block)


def _over_seeds(values: np.ndarray) -> Cell:
    """Mean and standard error of one value per seed; NaN stands for a missing seed."""
    there = values[~np.isnan(values)]
    if not len(there):
        return Cell()
    error = float(there.std(ddof=1) / sqrt(len(there))) if len(there) > 1 else None
    return Cell(float(there.mean()), error, fewer_seeds=len(there) < len(values))


def _gain(values: np.ndarray, plain: np.ndarray) -> tuple[float | None, int]:
    """The difference of the averages over the tasks that both have, and how many those are."""
    pairs = zip(map(_over_seeds, values), map(_over_seeds, plain), strict=True)
    gains = [ours.mean - theirs.mean for ours, theirs in pairs if None not in (ours.mean, theirs.mean)]
    return (float(np.mean(gains)) if gains else None), len(gains)


def signed(value: float) -> str:
    """A difference to one decimal, with its sign."""
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")  # adding 0.0 turns -0.0 into 0.0


def _placed(rows: Sequence[Row]) -> list[Row]:
    """The rows with the best and second of every column marked.

    An average over fewer tasks takes no place, for other tasks may be easier.
    """
    columns = [list(column) for column in zip(*(row.tasks for row in rows), strict=True)]
    placed = list(zip(*(_placed_column(column, [True] * len(rows)) for column in columns), strict=True))
    averages = _placed_column([row.average for row in rows], [row.averaged == len(row.tasks) for row in rows])
    return [
        replace(row, tasks=tasks, average=average)
        for row, tasks, average in zip(rows, placed, averages, strict=True)
    ]


def _placed_column(cells: Sequence[Cell], allowed: Sequence[bool]) -> list[Cell]:
    """One column's cells with places 1 and 2 given among the two or more that may have one.

    Numbers that look equal share a place.
    """
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


PAIRINGS = {"random": "drawn at random", "pseudo": "drawn by pseudo-labels", "exact": "of rendered pairs"}
"""How the analogies of a LoRWeB are drawn, as captions say it."""


def _made_by(suite: Suite, augmentation: str) -> str:
    """What images an augmentation brings; of a LoRWeB, what it learned from."""
    if augmentation == "base":
        return "images of the un-adapted base model (control)"
    spec = suite.adapter_of(augmentation)
    if spec is None or spec.analogy is None:
        return f"images made with {shown(augmentation)}"
    grid = ", painted into a 2x2 grid" if spec.analogy.context == "grid" else ""
    return f"images made with a LoRWeB, its analogies {PAIRINGS[spec.analogy.pairing]}{grid}"


def _caption(
    records: pd.DataFrame,
    suite: Suite,
    tasks: Sequence[str],
    selection: str,
    rows: Sequence[Row],
    measured: str,
) -> str:
    """What a reader has to know: what was measured, on what, with which checkpoint, and what is missing."""
    backbones = sorted({suite.train_settings(method).backbone for method in suite.methods})
    seeds = len(suite.seeds)
    number = f"mean ± standard error over {seeds} seeds" if seeds > 1 else "one seed, so no error"
    parts = [
        f"{measured} on {suite.dataset} ({', '.join(backbones)}), {number}",
        f"Checkpoint: {RULES.get(selection, selection)}",
        "Best of a column in bold, second underlined",
    ]
    if any(suite.train_settings(method).averaging == "swad" for method in suite.methods):
        parts.append(
            "SWAD: the average of iterates, chosen on held-out source images, whatever the checkpoint"
        )
    made = [name for name in suite.augmentations if name != "none"]
    if made and "none" in suite.augmentations:
        said = "; ".join(f"{shown(name)}, {_made_by(suite, name)}" for name in made)
        parts.append(f"Added to training below a method: {said}; in brackets, the gain over the method alone")
    absent = missing(records, suite, tasks)
    lacking = int((absent["selection"] == selection).sum())
    if lacking:
        marks = "–: no result yet" + "; †: fewer seeds" * any(row.average.fewer_seeds for row in rows)
        broken = int((failed(records, suite, tasks)["selection"] == selection).sum())
        why = f", {broken} of them failed, for the reason in records.csv" if broken else ""
        parts.append(f"Missing: {lacking} of {len(rows) * len(tasks) * seeds} trainings{why} ({marks})")
    versions = sorted(records.loc[records["suite"] == suite.name, "version"].unique())
    if len(versions) > 1:
        parts.append(
            f"Made by different versions of Terra-bench, which may not be alike: {', '.join(versions)}"
        )
    other = len(strays(records, suite, tasks))
    if other:
        parts.append(f"Left out: {other} record{'s' * (other > 1)} that the suite does not ask for")
    return ". ".join(parts) + "."
