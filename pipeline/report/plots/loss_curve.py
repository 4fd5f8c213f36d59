"""The losses of a fine-tuning against its steps."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pipeline.report.plots import style

NAMES = {"source_loss": "source (t = 0)", "target_loss": "target (t = 1)"}
"""What parts of a batch are called, other than by the domain that their column names."""


def lines(columns: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The columns of losses.csv to draw, each with its name and colour: the parts of a batch, then all of it."""
    parts = [column for column in columns if column.endswith("_loss")]
    colours = itertools.cycle(style.COLOURS)
    named = {part: (NAMES.get(part, part.removesuffix("_loss")), next(colours)) for part in parts}
    return named | {"loss": ("both" if len(parts) == 2 else "all", style.INK)}


def draw(losses: Path, title: str, window: int | None = None) -> dict[str, bytes]:
    """{".png", ".pdf"} of losses.csv (step, loss, a column NAME_loss for each part of a batch): each step faint, its mean bold.

    window: the steps that a mean is over; by default a twentieth of all.
    """
    table = pd.read_csv(losses)
    window = window or max(1, len(table) // 20)
    with style.house_style():
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        highest = 0.0
        for column, (name, colour) in lines(list(table)).items():
            mean = table[column].rolling(window, min_periods=1).mean()
            highest = max(highest, mean.max())
            if column != "loss":  # their mean: a third cloud would only hide the others
                axes.plot(table["step"], table[column], color=colour, alpha=0.18, linewidth=0.6)
            axes.plot(table["step"], mean, color=colour, linewidth=1.6, label=name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#E6E6E6", linewidth=0.6)
        axes.margins(x=0)
        axes.set(title=title, xlabel="step", ylabel=f"loss, mean of {window} steps", ylim=(0, 1.5 * highest))
        figure.legend(loc="outside right upper")
        return {".png": style.png(figure), ".pdf": style.pdf(figure)}
