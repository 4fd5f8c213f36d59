"""Draw the predicted t of every image, coloured by domain, and the points at which new domains are made."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.core.errors import UserError
from pipeline.report.plots import style

SHAPES = ("o", "^", "s", "D", "v", "P", "X", "*")
"""The marker of each domain, beside its colour, so that a figure printed in grey can be read."""

BINS = 60
"""Bins of the histogram of a one-dimensional t."""


def draw(times: Path, points: Sequence[Sequence[float]], title: str) -> dict[str, bytes]:
    """Draw times.csv: a histogram for a one-dimensional t, a plane for two dimensions, three for three.

    Args:
        times: A file with columns domain, split, name, t0[, t1, t2].
        points: The points of the grid, each with as many numbers as t has dimensions; may be empty.
        title: The title.

    Returns:
        The files by suffix, `.png` and `.pdf`.

    Raises:
        UserError: The points have another number of dimensions.
    """
    table = pd.read_csv(times, dtype={"domain": str}, keep_default_na=False)
    columns = [name for name in ("t0", "t1", "t2") if name in table]
    if any(len(point) != len(columns) for point in points):
        raise UserError(f"{times} has t of {len(columns)} dimensions, but the grid's points have others")
    grid = np.array(points, dtype=np.float64).reshape(-1, len(columns))
    planes = list(combinations(range(len(columns)), 2))
    with style.house_style():
        figure = Figure(figsize=(max(6.4, 3.4 * len(planes)), 4.2), layout="constrained")
        if not planes:
            _histograms(figure.add_subplot(), table, grid[:, 0])
        for place, (across, up) in enumerate(planes, start=1):
            axes = figure.add_subplot(1, len(planes), place)
            _plane(axes, table, columns[across], columns[up], grid[:, [across, up]])
        figure.suptitle(title, x=0.01, ha="left", size=10, weight="bold")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        several = len(planes) > 1
        figure.legend(
            handles,
            labels,
            handletextpad=0.4,
            markerscale=1.5,
            loc="outside lower left" if several else "outside right upper",
            ncols=5 if several else 1,
        )
        return {".png": style.png(figure), ".pdf": style.pdf(figure)}


def _marks(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame, str, str]]:
    """Name, rows, colour and marker of every domain."""
    groups = table.groupby("domain", sort=False)
    return [
        (str(domain), rows, style.COLOURS[i % len(style.COLOURS)], SHAPES[i % len(SHAPES)])
        for i, (domain, rows) in enumerate(groups)
    ]


def _grid_label(grid: np.ndarray) -> str:
    return f"grid, {len(grid)} point{'s' * (len(grid) != 1)}"


def _histograms(axes: Axes, table: pd.DataFrame, grid: np.ndarray) -> None:
    """Draw a histogram for each domain, and the grid as markers on its axis."""
    low, high = table["t0"].min(), table["t0"].max()
    edges: int | list[float] = list(np.linspace(low, high, BINS + 1)) if high > low else 1
    for domain, rows, colour, _ in _marks(table):
        axes.hist(rows["t0"], bins=edges, color=colour, alpha=0.75, label=f"{domain} ({len(rows)})")
    if len(grid):
        for t in grid:
            axes.axvline(t, color=style.FAINT, linewidth=0.6, linestyle=":", zorder=0)
        axes.plot(
            grid,
            np.zeros(len(grid)),
            label=_grid_label(grid),
            ls="",
            marker="+",
            ms=9,
            mew=1.4,
            color=style.INK,
            clip_on=False,
            zorder=3,
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel="predicted t", ylabel="images")


def _plane(axes: Axes, table: pd.DataFrame, across: str, up: str, grid: np.ndarray) -> None:
    """Draw two dimensions of t; grid points with the same coordinates are drawn once."""
    for domain, rows, colour, shape in _marks(table):
        axes.scatter(
            rows[across],
            rows[up],
            s=12,
            marker=shape,
            color=colour,
            edgecolors="white",
            linewidths=0.2,
            alpha=0.6,
            label=f"{domain} ({len(rows)})",
        )
    if len(grid):
        x, y = np.unique(grid, axis=0).T
        axes.scatter(x, y, s=45, marker="+", color=style.INK, linewidths=1.2, label=_grid_label(grid))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_aspect("equal", adjustable="datalim")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set(xlabel=f"predicted {across}", ylabel=f"predicted {up}")
