"""The losses of a fine-tuning against its steps."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pipeline.report import figures

LINES = {
    "source_loss": ("source (t = 0)", figures.COLOURS[0]),
    "target_loss": ("target (t = 1)", figures.COLOURS[1]),
    "loss": ("both", figures.INK),
}
"""The columns of losses.csv that are drawn, each with its name and colour."""


def draw(losses: Path, title: str, window: int | None = None) -> dict[str, bytes]:
    """{".png", ".pdf"} of losses.csv (step, loss, source_loss, target_loss): each step faint, its running mean bold.

    window: the steps that a mean is over; by default a twentieth of all.
    """
    table = pd.read_csv(losses)
    window = window or max(1, len(table) // 20)
    with figures.house_style():
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        highest = 0.0
        for column, (name, colour) in LINES.items():
            mean = table[column].rolling(window, min_periods=1).mean()
            highest = max(highest, mean.max())
            if column != "loss":  # their mean: a third cloud would only hide the two
                axes.plot(table["step"], table[column], color=colour, alpha=0.18, linewidth=0.6)
            axes.plot(table["step"], mean, color=colour, linewidth=1.6, label=name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#E6E6E6", linewidth=0.6)
        axes.margins(x=0)
        axes.set(title=title, xlabel="step", ylabel=f"loss, mean of {window} steps", ylim=(0, 1.5 * highest))
        figure.legend(loc="outside right upper")
        return {".png": figures.png(figure), ".pdf": figures.pdf(figure)}
