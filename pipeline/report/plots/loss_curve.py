"""Draw the losses of a fine-tuning against its steps."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pipeline.report.plots import style

NAMES = {"source_loss": "source (t = 0)", "target_loss": "target (t = 1)"}
"""Names of parts of a batch that are not called by their domain."""


def lines(columns: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the columns of losses.csv to draw, with name and colour: parts of a batch, then the whole."""
    parts = [column for column in columns if column.endswith("_loss")]
    colours = itertools.cycle(style.COLOURS)
    named = {part: (NAMES.get(part, part.removesuffix("_loss")), next(colours)) for part in parts}
    return named | {"loss": ("both" if len(parts) == 2 else "all", style.INK)}


def draw(losses: Path, title: str, window: int | None = None) -> dict[str, bytes]:
    """Draw losses.csv: each step faint, the running mean bold.

    Args:
        losses: A file with columns step, loss, and NAME_loss for each part of a batch.
        title: The title.
        window: The number of steps of a mean; by default a twentieth of all.

    Returns:
        The files by suffix, `.png` and `.pdf`.
    """
    table = pd.read_csv(losses)
    window = window or max(1, len(table) // 20)
    with style.house_style():
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        highest = 0.0
        for column, (name, colour) in lines([str(column) for column in table]).items():
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
