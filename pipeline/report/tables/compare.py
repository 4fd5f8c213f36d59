"""Compare two runs cell by cell, from their records: what changed, and what by more than noise."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.core.errors import UserError
from pipeline.core.text import one_line
from pipeline.report.records import schema_of
from pipeline.report.schema import Measure, Schema
from pipeline.report.tables.names import signed

LEVEL = 0.05
"""Significance level after adjustment, and thus the accepted share of false alarms among the changes."""

SETTINGS = ("suite", "version", "library")
"""Columns with few values per run; a difference here tells that the runs were made differently."""

NOISE, CHANGED, SAME, UNKNOWN = "within noise", "beyond noise", "same", "noise unknown"

MOST_NAMES = 6
"""So many cells that only one run has are named."""

RULE = (
    "Beyond noise: Welch's two-sided t-test between the seeds of A and of B, p-values adjusted for the "
    f"number of cells by Benjamini and Hochberg's rule, p < {LEVEL}. The noise of a cell with one seed in "
    "either run is unknown, and the cell is not tested."
)


@dataclass(frozen=True)
class Change:
    """One measure of one cell that both runs have.

    Attributes:
        cell: The columns that identify the cell.
        name: The name of the cell in words.
        measure: The column that was compared.
        a: The mean over seeds in A.
        b: The mean over seeds in B.
        difference: b minus a.
        better: Whether b is better; None if the difference is 0.
        seeds_a: The number of seeds in A.
        seeds_b: The number of seeds in B.
        p: The adjusted p-value, None if the noise is unknown.
        verdict: `same`, `within noise`, `beyond noise` or `noise unknown`.
    """

    cell: dict[str, str]
    name: str
    measure: str
    a: float
    b: float
    difference: float
    better: bool | None
    seeds_a: int
    seeds_b: int
    p: float | None
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        unit: What one record is of: "training".
        changes: All measures of all cells that both runs have.
        only_a: The names of cells that A alone has a value of.
        only_b: The names of cells that B alone has a value of.
        settings: By column of `SETTINGS`, the values in A and in B, where they differ.
        keys: How many jobs that both runs have are `same` (made with the same settings, inputs and code), how
            many of
            these have `same, but another accuracy`, and how many are `other`.
    """

    unit: str
    changes: tuple[Change, ...]
    only_a: tuple[dict[str, str], ...]
    only_b: tuple[dict[str, str], ...]
    settings: dict[str, tuple[list[str], list[str]]]
    keys: dict[str, int]

    @property
    def differs(self) -> bool:
        """Whether a cell changed by more than noise."""
        return any(change.verdict == CHANGED for change in self.changes)

    def as_json(self) -> dict[str, Any]:
        """Return everything, as `--json` prints it."""
        return asdict(self) | {"rule": RULE, "differs": self.differs}


CellKey = tuple[str, ...]
Values = dict[CellKey, np.ndarray]


def compare(a: pd.DataFrame, b: pd.DataFrame) -> Comparison:
    """Compare the records `b` with the records `a`. A record of a failed job counts as missing.

    Raises:
        UserError: One run holds trainings and the other morphs, or a run holds several suites with the same
            cells.
    """
    schema, other = schema_of(a), schema_of(b)
    if schema is not other:
        raise UserError(
            f"run A holds records of {schema.unit}s, run B of {other.unit}s; compare two runs of one kind"
        )
    cells = identity(schema)
    measures = [
        (measure, _values(a, measure, cells), _values(b, measure, cells)) for measure in schema.measures
    ]
    for records, run in ((a, "A"), (b, "B")):
        _check_one_suite(records, run, schema)
    shared = [
        (measure, cell, in_a[cell], in_b[cell])
        for measure, in_a, in_b in measures
        for cell in in_a
        if cell in in_b
    ]
    adjusted = _adjusted([welch(x, y) for _, _, x, y in shared])
    _, main_a, main_b = measures[0]
    return Comparison(
        unit=schema.unit,
        changes=tuple(
            _change(schema, measure, dict(zip(cells, cell, strict=True)), x, y, p)
            for (measure, cell, x, y), p in zip(shared, adjusted, strict=True)
        ),
        only_a=tuple(dict(zip(cells, cell, strict=True)) for cell in main_a if cell not in main_b),
        only_b=tuple(dict(zip(cells, cell, strict=True)) for cell in main_b if cell not in main_a),
        settings={
            name: values
            for name in SETTINGS
            if name in a and (values := (sorted(set(a[name])), sorted(set(b[name]))))[0] != values[1]
        },
        keys=_keys(a, b, schema),
    )


def identity(schema: Schema) -> list[str]:
    """Return the columns that identify a cell in both runs: not the suite, because a part may be compared."""
    return [name for name in schema.identity if name not in ("suite", "seed")]


def _check_one_suite(records: pd.DataFrame, run: str, schema: Schema) -> None:
    if records.duplicated([name for name in schema.identity if name != "suite"]).any():
        suites = ", ".join(sorted(set(records["suite"])))
        raise UserError(
            f"run {run} has records of several suites ({suites}) with the same cells; keep those of one"
        )


def _values(records: pd.DataFrame, measure: Measure, cells: list[str]) -> Values:
    """The values of a measure over seeds, by cell."""
    known = records[records[measure.column].notna()]
    values: dict[CellKey, list[float]] = {}
    for cell, value in zip(
        known[cells].itertuples(index=False, name=None), known[measure.column], strict=True
    ):
        values.setdefault(tuple(map(str, cell)), []).append(float(value))
    return {cell: np.array(numbers) for cell, numbers in values.items()}


def welch(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return the two-sided p-value of Welch's t-test, or None if a sample has fewer than two values."""
    if min(len(a), len(b)) < 2:
        return None
    error = sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    if error < 1e-9:  # seeds that all agree have no noise, and a percent's billionth is rounding
        return float(abs(a.mean() - b.mean()) < 1e-9)
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def _adjusted(p: Sequence[float | None]) -> list[float | None]:
    """Adjust the p-values that are not None by Benjamini and Hochberg's rule."""
    known = [value for value in p if value is not None]
    adjusted = iter(stats.false_discovery_control(known) if known else [])
    return [None if value is None else float(next(adjusted)) for value in p]


def _change(
    schema: Schema, measure: Measure, cell: dict[str, str], a: np.ndarray, b: np.ndarray, p: float | None
) -> Change:
    difference = float(b.mean() - a.mean())
    if len(a) == len(b) and np.array_equal(np.sort(a), np.sort(b)):
        verdict = SAME
    elif p is None:
        verdict = UNKNOWN
    else:
        verdict = CHANGED if p < LEVEL else NOISE
    return Change(
        cell=cell,
        name=schema.cell_name(cell),
        measure=measure.column,
        a=float(a.mean()),
        b=float(b.mean()),
        difference=difference,
        better=None if difference == 0 else (difference > 0) == measure.higher_is_better,
        seeds_a=len(a),
        seeds_b=len(b),
        p=p,
        verdict=verdict,
    )


def _keys(a: pd.DataFrame, b: pd.DataFrame, schema: Schema) -> dict[str, int]:
    """How many jobs of both runs have the same key, and how many of these other values."""
    same_record = [name for name in schema.identity if name != "suite"]
    both = a.merge(b, on=same_record, suffixes=("_a", "_b"))
    same_job = [name for name in same_record if name not in schema.variants]
    same_key = both["key_a"] == both["key_b"]
    moved = pd.Series(False, index=both.index)
    for measure in schema.measures:
        in_a, in_b = both[f"{measure.column}_a"], both[f"{measure.column}_b"]
        moved |= (in_a != in_b) & (in_a.notna() | in_b.notna())
    count = {"same": same_key, "same, but another accuracy": same_key & moved, "other": ~same_key}
    return {name: int((~both[rows].duplicated(same_job)).sum()) for name, rows in count.items()}


def described(found: Comparison, a: Path, b: Path) -> str:
    """Describe a comparison for a terminal: changes beyond noise, the largest first, then the rest."""
    counts = {verdict: 0 for verdict in (SAME, NOISE, CHANGED, UNKNOWN)}
    for change in found.changes:
        counts[change.verdict] += 1
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    several = len({change.measure for change in found.changes}) > 1
    values = "values" if several else "cells"
    lines = [f"A: {a}", f"B: {b}", f"{len(found.changes)} {values} in both: {summary}"]
    for verdict in (CHANGED, UNKNOWN):
        moved = [change for change in found.changes if change.verdict == verdict]
        lines += ["", f"{verdict}:"] * bool(moved)
        for measure in dict.fromkeys(change.measure for change in moved):
            own = [change for change in moved if change.measure == measure]
            lines += [_line(change, several) for change in sorted(own, key=lambda one: -abs(one.difference))]
    lines += _only(found.only_a, "A") + _only(found.only_b, "B")
    for name, (in_a, in_b) in found.settings.items():
        list_a, list_b = (", ".join(value or "none" for value in values) for values in (in_a, in_b))
        lines.append(f"{name}: A {list_a}; B {list_b}")
    keys = found.keys
    lines.append(
        f"{found.unit}s in both: {keys['same']} with the same settings, inputs and code "
        f"({keys['same, but another accuracy']} of them with other results), {keys['other']} with others"
    )
    return "\n".join([*map(one_line, lines), RULE])


def _line(change: Change, several: bool) -> str:
    """One change; `several`: whether its measure has to be named."""
    p = "" if change.p is None else f"  p = {change.p:.2g}"
    if not several:
        return f"  {signed(change.difference):>6}  {change.a:.1f} to {change.b:.1f}{p}  {change.name}"
    better = {True: " (better)", False: " (worse)", None: ""}[change.better]
    numbers = f"{signed(change.difference, 4):>8}  {change.a:.4g} to {change.b:.4g}"
    return f"  {numbers}{p}  {change.measure}, {change.name}{better}"


def _only(cells: Iterable[dict[str, str]], run: str) -> list[str]:
    """How many cells only one run has, and which."""
    named = [", ".join(value for name, value in cell.items() if name not in HIDDEN) for cell in cells]
    distinct = list(dict.fromkeys(named))
    more = f", and {len(distinct) - MOST_NAMES} more" if len(distinct) > MOST_NAMES else ""
    return [f"only in {run}: {len(named)} cells: {'; '.join(distinct[:MOST_NAMES])}{more}"] if named else []


HIDDEN = ("dataset", "setting", "backbone", "selection", "distance", "features")
"""Columns that are not named where only one run has a cell."""
