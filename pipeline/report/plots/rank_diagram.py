"""Draw the average ranks of a suite's rows on a line, and join those that a test does not tell apart.

After figure 1 of Demšar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets.
"""

from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.plots import style
from pipeline.report.tables.names import row_name
from pipeline.report.tables.significance import Ranks, alike
from pipeline.report.tables.significance_text import ranks_caption

_LINE = 0.26
"""Inches of a label, and of the bar of a group."""


def draw(ranks: Ranks, title: str) -> dict[str, bytes]:
    """Draw `ranks`, which have a critical difference; the best is on the left.

    Returns:
        The files by suffix, `.png` and `.pdf`.
    """
    groups = alike(ranks.average, ranks.critical or 0.0)
    beneath = 1 + len(groups) + ceil(len(ranks.rows) / 2)
    with style.house_style():
        figure = Figure(figsize=(6.4, _LINE * (beneath + 6)), layout="constrained")
        axes = figure.add_subplot()
        _scale(axes, ranks, -(beneath + 0.5))
        for place, (first, last) in enumerate(groups):
            ends = [ranks.average[first] - 0.04, ranks.average[last] + 0.04]
            axes.plot(ends, [-(place + 1)] * 2, color=style.COLOURS[5], linewidth=3.5, solid_capstyle="butt")
        _labels(axes, ranks, start=len(groups) + 1)
        axes.set_title(title)
        figure.supxlabel(ranks_caption(ranks), fontsize=7, color=style.FAINT, wrap=True)
        return {".png": style.png(figure), ".pdf": style.pdf(figure)}


def _scale(axes: Axes, ranks: Ranks, bottom: float) -> None:
    """Draw the axis of ranks, and above it the length of the critical difference."""
    highest = len(ranks.rows)
    critical = ranks.critical or 0.0
    axes.set(xlim=(1 - 0.45 * (highest - 1), highest + 0.45 * (highest - 1)), ylim=(bottom, 2.6))
    axes.axis("off")
    axes.plot([1, highest], [0, 0], color=style.INK, linewidth=0.8)
    for rank in range(1, highest + 1):
        axes.plot([rank, rank], [0, 0.25], color=style.INK, linewidth=0.8)
        axes.text(rank, 0.35, str(rank), ha="center", va="bottom")
    axes.plot([1, 1 + critical], [1.6, 1.6], color=style.INK, linewidth=0.8, marker="|")
    axes.text(1 + critical / 2, 1.7, f"critical difference {critical:.2f}", ha="center", va="bottom")


def _labels(axes: Axes, ranks: Ranks, start: int) -> None:
    """Write the names below, the better half on the left, each with a line up to its rank."""
    count = len(ranks.rows)
    margin = 0.06 * (count - 1)
    for place, (row, average) in enumerate(zip(ranks.rows, ranks.average, strict=True)):
        left = place < ceil(count / 2)
        height = -(start + (place if left else count - 1 - place) + 0.3)
        end = 1 - margin if left else count + margin
        axes.plot([average, average, end], [0, height, height], color=style.FAINT, linewidth=0.7)
        label = f"{row_name(*row)}  {average:.2f}" if left else f"{average:.2f}  {row_name(*row)}"
        axes.text(
            end - margin / 4 if left else end + margin / 4,
            height,
            label,
            ha="right" if left else "left",
            va="center",
        )
