"""Test whether made images help: gains paired over tasks and seeds, and the ranks of all rows.

This module computes; `significance_text.py` writes the results down and `rank_diagram.py` draws them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import inf, sqrt

import numpy as np
import pandas as pd

from pipeline.config import Suite
from pipeline.report.tables import accuracy

FEWEST_TASKS = 6
"""With fewer tasks nothing is tested: a two-sided signed-rank test of five cannot give p < 0.05 (2 / 2^5 is
0.06).
"""

LEVEL = 0.05
"""Significance level of intervals and of the critical difference."""

RESAMPLES = 10_000

CONTROLS = ("none", "base")
"""The augmentations that others are compared with: the method alone, and images of the un-adapted base model.
"""

_EXACT = 9
"""Decimals that count when percents are compared; smaller differences are rounding of the same number."""


@dataclass(frozen=True)
class Gain:
    """How much better a method is with one augmentation than with another, over the trainings that both have.

    Attributes:
        method: The method's label.
        augmentation: The augmentation that is tested.
        over: The augmentation that it is compared with.
        mean: Points: the mean over tasks of the mean over seeds. None if no training is shared.
        interval: The bootstrap interval of 95 %.
        p: The two-sided p-value of the Wilcoxon signed-rank test over tasks.
        better: The number of tasks that gain.
        tasks: The number of tasks that both have, of `asked`.
        asked: The number of tasks of the suite.
        pairs: The number of trainings that both have, of `pairs_asked`.
        pairs_asked: The number of trainings that the suite asks for.
        untested: Why there is no interval or no p-value.
    """

    method: str
    augmentation: str
    over: str
    mean: float | None
    interval: tuple[float, float] | None
    p: float | None
    better: int
    tasks: int
    asked: int
    pairs: int
    pairs_asked: int
    untested: str = ""


@dataclass(frozen=True)
class Ranks:
    """The average rank of every row (1 is best) over the tasks that all of them have.

    Attributes:
        rows: (method, augmentation), the best first.
        average: The average rank of each row.
        tasks: The number of tasks that the ranks are over, of `asked`.
        asked: The number of tasks of the suite.
        critical: Nemenyi's critical difference, or None where `untested` says why.
        untested: Why nothing is tested.
        left_out: The rows without any result.
    """

    rows: tuple[tuple[str, str], ...]
    average: tuple[float, ...]
    tasks: int
    asked: int
    critical: float | None
    untested: str = ""
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Statistics:
    """The statistics of one suite under one selection rule.

    Attributes:
        title: The suite's title.
        dataset: The dataset.
        selection: The selection rule.
        rows: (method, augmentation), in the order of the accuracy table.
        gains: The gains of made images.
        ranks: The ranks of all rows.
    """

    title: str
    dataset: str
    selection: str
    rows: tuple[tuple[str, str], ...]
    gains: tuple[Gain, ...]
    ranks: Ranks


def statistics(records: pd.DataFrame, suite: Suite, tasks: Sequence[str], selection: str) -> Statistics:
    """Return the gains of each method by made images over each control, and the ranks of all rows."""
    values = grids(records, suite, tasks, selection)
    gains = [
        gain(method, augmentation, over, values[method, augmentation], values[method, over])
        for method in map(suite.label, suite.methods)
        for augmentation, over in compared(suite.augmentations)
        if (method, augmentation) in values
    ]
    return Statistics(suite.title, suite.dataset, selection, tuple(values), tuple(gains), ranks(values))


def grids(
    records: pd.DataFrame, suite: Suite, tasks: Sequence[str], selection: str
) -> dict[tuple[str, str], np.ndarray]:
    """Return the accuracies of each row in percent.

    Returns:
        (method, augmentation) to [tasks, seeds], NaN where a record is missing.
    """
    asked = accuracy.measured(records, suite, tasks, selection)
    rows = [
        (suite.label(method), augmentation)
        for method in suite.methods
        for augmentation in suite.augmentations_of(method)
    ]
    found = dict(list(asked.groupby(["method", "augmentation"])))
    return {row: accuracy.by_task_and_seed(found.get(row, asked[:0]), tasks, suite.seeds) for row in rows}


def compared(augmentations: Sequence[str]) -> list[tuple[str, str]]:
    """Return which augmentations are compared with which: those made by an adapter with the controls.

    Where no adapter made images, the images of the base model are compared with no images.
    """
    made = [name for name in augmentations if name not in CONTROLS]
    made = made or [name for name in augmentations if name == "base"]
    return [
        (name, control)
        for name in made
        for control in CONTROLS
        if control in augmentations and control != name
    ]


def gain(method: str, augmentation: str, over: str, values: np.ndarray, other: np.ndarray) -> Gain:
    """Return the gain of `values` over `other`: percents [tasks, seeds], NaN where one is missing."""
    differences = values - other
    paired = ~np.isnan(differences)
    of_tasks = np.round(
        [line[present].mean() for line, present in zip(differences, paired, strict=True) if present.any()],
        _EXACT,
    )
    shared, moved = len(of_tasks), int(np.count_nonzero(of_tasks))
    interval, p, untested = None, None, ""
    if shared < FEWEST_TASKS:
        few = f"{shared} task{'s' * (shared != 1)}"
        untested = f"{few}: too few for an interval or a test, which need {FEWEST_TASKS}"
    else:
        gains = resampled_gains(differences[paired.any(axis=1)])
        low, high = np.percentile(gains, [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)])
        interval = (float(low), float(high))
        if moved < FEWEST_TASKS:
            untested = f"tasks that differ: {moved}, too few for a test, which needs {FEWEST_TASKS}"
        else:
            p = signed_rank_p(of_tasks[of_tasks != 0])
    return Gain(
        method,
        augmentation,
        over,
        mean=float(of_tasks.mean()) if shared else None,
        interval=interval,
        p=p,
        better=int((of_tasks > 0).sum()),
        tasks=shared,
        asked=len(values),
        pairs=int(paired.sum()),
        pairs_asked=values.size,
        untested=untested,
    )


def signed_rank_p(gains: np.ndarray) -> float:
    """Return the exact two-sided p-value of the Wilcoxon signed-rank test of `gains`, none of which is 0.

    The distribution of the sum of ranks is built rank by rank; each rank enters it with probability one half.
    `scipy.stats.wilcoxon` gives the same p-value, but tries every pattern of signs where ranks are tied,
    which takes seconds for 12 gains.
    """
    from scipy import stats  # takes half a second to import

    # Equal sizes share a mean rank, which may end in .5.
    doubled = np.rint(2 * stats.rankdata(abs(gains))).astype(int)
    chances = np.ones(1)
    for rank in doubled:
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    seen = doubled[gains > 0].sum()
    return min(1.0, 2 * float(min(chances[: seen + 1].sum(), chances[seen:].sum())))


def resampled_gains(differences: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return mean gains [resamples] of a two-stage bootstrap.

    Tasks are drawn with replacement, as many as there are. Of each drawn task, seeds are drawn with
    replacement, as
    many as the task has. Both the choice of tasks and the outcome of a training are random (Davison and
    Hinkley 1997,
    Bootstrap Methods, section 3.8).

    Args:
        differences: Points [tasks, seeds], paired, NaN where a seed is missing; each task has at least one.
        resamples: The number of bootstrap samples.
        seed: Seed of the generator.
    """
    weights = _weights((~np.isnan(differences)).tobytes(), differences.shape, resamples, seed)
    return weights @ np.nan_to_num(differences).ravel()


@lru_cache(maxsize=4)
def _weights(pattern: bytes, shape: tuple[int, int], resamples: int, seed: int) -> np.ndarray:
    """The weight of each difference [tasks x seeds] in each bootstrap sample: [resamples, tasks x seeds].

    `pattern` holds the bytes of bool [tasks, seeds]: whether a difference is known. Gains with one pattern
    share their samples.
    """
    generator = np.random.default_rng(seed)
    tasks, seeds = shape
    known = np.frombuffer(pattern, bool).reshape(shape)
    first = np.argsort(~known, axis=1, kind="stable")  # a task's missing seeds stand behind the others
    drawn = generator.integers(tasks, size=(resamples, tasks))
    counts = known.sum(axis=1)[drawn]
    picks = (generator.random((resamples, tasks, seeds)) * counts[..., None]).astype(int)
    columns = first[drawn[..., None], picks] + drawn[..., None] * seeds
    taken = np.arange(seeds) < counts[..., None]
    rows = np.broadcast_to(np.arange(resamples)[:, None, None], columns.shape)
    share = np.broadcast_to(1 / (counts[..., None] * tasks), columns.shape)
    weights = np.zeros((resamples, tasks * seeds))
    np.add.at(weights, (rows[taken], columns[taken]), share[taken])
    return weights


def ranks(values: dict[tuple[str, str], np.ndarray]) -> Ranks:
    """Return the average ranks of rows of accuracies, each [tasks, seeds], NaN where one is missing."""
    known = {row: ~np.isnan(grid) for row, grid in values.items()}
    rows = [row for row in values if known[row].any()]
    left_out = tuple(row for row in values if row not in rows)
    asked = len(next(iter(values.values())))
    complete = np.all([known[row].any(axis=1) for row in rows], axis=0) if rows else np.zeros(asked, bool)
    count = int(complete.sum())
    if not count or len(rows) < 2:
        why = "no task has results of two or more rows and of all that have any"
        return Ranks((), (), count, asked, None, why, left_out)
    average = average_ranks(np.array([np.nanmean(values[row][complete], axis=1) for row in rows]))
    best_first = np.argsort(average, kind="stable")
    few = count < FEWEST_TASKS
    return Ranks(
        rows=tuple(rows[place] for place in best_first),
        average=tuple(float(average[place]) for place in best_first),
        tasks=count,
        asked=asked,
        critical=None if few else critical_difference(len(rows), count),
        untested=f"{count} task{'s' * (count != 1)}: too few for a test, which needs {FEWEST_TASKS}" * few,
        left_out=left_out,
    )


def average_ranks(accuracies: np.ndarray) -> np.ndarray:
    """Return each row's mean rank over tasks from accuracies [rows, tasks]; 1 is best; ties share a rank."""
    from scipy import stats

    return stats.rankdata(-np.round(accuracies, _EXACT), axis=0).mean(axis=1)


@cache
def critical_difference(rows: int, tasks: int, level: float = LEVEL) -> float:
    """Return by how much two of `rows` average ranks over `tasks` have to differ, by Nemenyi's test.

    Demšar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, section 3.2.2.
    """
    from scipy import stats

    quantile = float(stats.studentized_range.ppf(1 - level, rows, inf)) / sqrt(2)
    return quantile * sqrt(rows * (rows + 1) / (6 * tasks))


def alike(average: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """Return the widest groups that the test does not tell apart: first and last index into `average`."""
    groups: list[tuple[int, int]] = []
    for first, lowest in enumerate(average):
        last = max(place for place, rank in enumerate(average) if rank - lowest < critical)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups
