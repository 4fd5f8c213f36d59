"""Compare two runs cell by cell, from their records: which accuracies changed, and which by more than noise."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.core.errors import UserError
from pipeline.report.records import CELL
from pipeline.report.tables.names import arrow, row_name, signed

LEVEL = 0.05
"""Significance level after adjustment, and thus the accepted share of false alarms among the changes."""

IDENTITY = [name for name in CELL if name not in ("suite", "seed")]
"""The columns that identify a cell in both runs. The suite is not among them: a part may be compared with the
whole.
"""

SETTINGS = ("suite", "version", "library")
"""Columns with few values per run; a difference here tells that the runs were made differently."""

NOISE, CHANGED, SAME, UNKNOWN = "within noise", "beyond noise", "same", "noise unknown"

RULE = (
    "Beyond noise: Welch's two-sided t-test between the seeds of A and of B, p-values adjusted for the number of "
    f"cells by Benjamini and Hochberg's rule, p < {LEVEL}. The noise of a cell with one seed in either run is unknown, "
    "and the cell is not tested."
)


@dataclass(frozen=True)
class Change:
    """One cell of both runs. a, b: mean accuracies in percent; difference: b less a, in points; p: adjusted."""

    cell: dict[str, str]
    a: float
    b: float
    difference: float
    seeds_a: int
    seeds_b: int
    p: float | None
    verdict: str

    @property
    def name(self) -> str:
        """The cell in words."""
        row = row_name(self.cell["method"], self.cell["augmentation"])
        return f"{arrow(self.cell['task'])} {row} ({self.cell['backbone']}, {self.cell['selection']})"


@dataclass(frozen=True)
class Comparison:
    """Two runs. only_a, only_b: cells that one alone has an accuracy of. settings: by name, the values in A and in B.

    keys: of the trainings that both have, how many were made from the same settings, inputs and code
        ("same"), how many of
    those came out otherwise ("same, but another accuracy"), and how many were made from others ("other").
    """

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


def compare(a: pd.DataFrame, b: pd.DataFrame) -> Comparison:
    """Compare the records `b` with the records `a`. A record of a failed training counts as missing."""
    cells_a, cells_b = _cells(a, "A"), _cells(b, "B")
    shared = [cell for cell in cells_a if cell in cells_b]
    tested = _adjusted([welch(cells_a[cell], cells_b[cell]) for cell in shared])
    return Comparison(
        changes=tuple(
            _change(cell, cells_a[cell], cells_b[cell], p) for cell, p in zip(shared, tested, strict=True)
        ),
        only_a=tuple(_named(cell) for cell in cells_a if cell not in cells_b),
        only_b=tuple(_named(cell) for cell in cells_b if cell not in cells_a),
        settings={
            name: values
            for name in SETTINGS
            if (values := (sorted(set(a[name])), sorted(set(b[name]))))[0] != values[1]
        },
        keys=_keys(a, b),
    )


def _cells(records: pd.DataFrame, run: str) -> dict[tuple[str, ...], np.ndarray]:
    """The accuracies over seeds of each cell."""
    repeated = records[records.duplicated([*IDENTITY, "seed"])]
    if len(repeated):
        suites = ", ".join(sorted(set(records["suite"])))
        raise UserError(
            f"run {run} has records of several suites ({suites}) with the same cells; keep those of one"
        )
    there = records[records["accuracy"].notna()]
    return {cell: group.to_numpy() for cell, group in there.groupby(IDENTITY, sort=False)["accuracy"]}


def _named(cell: Sequence[str]) -> dict[str, str]:
    return dict(zip(IDENTITY, cell, strict=True))


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


def _change(cell: Sequence[str], a: np.ndarray, b: np.ndarray, p: float | None) -> Change:
    difference = float(b.mean() - a.mean())
    if len(a) == len(b) and np.array_equal(np.sort(a), np.sort(b)):
        verdict = SAME
    elif p is None:
        verdict = UNKNOWN
    else:
        verdict = CHANGED if p < LEVEL else NOISE
    return Change(_named(cell), float(a.mean()), float(b.mean()), difference, len(a), len(b), p, verdict)


def _keys(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, int]:
    both = a.merge(b, on=[*IDENTITY, "seed"], suffixes=("_a", "_b"))
    trainings = [name for name in [*IDENTITY, "seed"] if name != "selection"]
    same_key = both["key_a"] == both["key_b"]
    moved = (both["accuracy_a"] != both["accuracy_b"]) & both[["accuracy_a", "accuracy_b"]].notna().any(
        axis=1
    )
    count = {"same": same_key, "same, but another accuracy": same_key & moved, "other": ~same_key}
    return {name: int((~both[rows].duplicated(trainings)).sum()) for name, rows in count.items()}


def described(found: Comparison, a: Path, b: Path) -> str:
    """Describe a comparison for a terminal: the changes beyond noise, the largest first, then everything else."""
    counts = {verdict: 0 for verdict in (SAME, NOISE, CHANGED, UNKNOWN)}
    for change in found.changes:
        counts[change.verdict] += 1
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    lines = [f"A: {a}", f"B: {b}", f"{len(found.changes)} cells in both: {summary}"]
    for verdict in (CHANGED, UNKNOWN):
        moved = [change for change in found.changes if change.verdict == verdict]
        lines += [f"\n{verdict}:"] * bool(moved)
        lines += [_line(change) for change in sorted(moved, key=lambda change: -abs(change.difference))]
    lines += _only(found.only_a, "A") + _only(found.only_b, "B")
    for name, (in_a, in_b) in found.settings.items():
        list_a, list_b = (", ".join(value or "none" for value in values) for values in (in_a, in_b))
        lines.append(f"{name}: A {list_a}; B {list_b}")
    keys = found.keys
    lines.append(
        f"trainings in both: {keys['same']} with the same settings, inputs and code "
        f"({keys['same, but another accuracy']} of them with another accuracy), {keys['other']} with others"
    )
    return "\n".join([*lines, RULE])


def _line(change: Change) -> str:
    p = "" if change.p is None else f"  p = {change.p:.2g}"
    return f"  {signed(change.difference):>6}  {change.a:.1f} to {change.b:.1f}{p}  {change.name}"


def _only(cells: Iterable[dict[str, str]], run: str) -> list[str]:
    """How many cells only one run has, and in which rows."""
    names = [f"{row_name(cell['method'], cell['augmentation'])} {arrow(cell['task'])}" for cell in cells]
    shown = list(dict.fromkeys(names))
    more = f", and {len(shown) - 6} more" if len(shown) > 6 else ""
    return [f"only in {run}: {len(names)} cells: {', '.join(shown[:6])}{more}"] if names else []
