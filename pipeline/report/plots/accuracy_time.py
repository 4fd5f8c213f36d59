"""Accuracy against the time that a training took: what a better row costs."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.report.plots import style
from pipeline.report.tables.accuracy import AccuracyTable, shown

MARKS = {"none": "o", "base": "s", "terra": "^"}
OTHERS = "DvPX*<>"
"""The marks of other augmentations, in turn."""

STROKES = ("-", "--", ":", "-.")
"""Of the lines of the first eight methods, the next eight, and so on: there are no more colours."""


def points(table: AccuracyTable, records: pd.DataFrame) -> pd.DataFrame:
    """method, augmentation, seconds (median of the row's trainings), accuracy and error (percent): rows of `table`."""
    there = records[(records["selection"] == table.selection) & records["accuracy"].notna()]
    seconds = there.groupby(["method", "augmentation"])[
        "seconds"
    ].median()  # other work on the machine lengthens some
    rows = [
        (
            row.method,
            row.augmentation,
            seconds[row.method, row.augmentation],
            row.average.mean,
            row.average.error,
        )
        for row in table.rows
        if row.averaged == len(row.tasks)  # an average over fewer tasks stands for other work
    ]
    return pd.DataFrame(rows, columns=["method", "augmentation", "seconds", "accuracy", "error"])


def draw(found: pd.DataFrame, title: str) -> dict[str, bytes]:
    """The `points` as {".pdf", ".png"}: colour says the method, the mark what was added to its training."""
    with style.house_style():
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        marks = {
            name: MARKS.get(name, OTHERS[place % len(OTHERS)])
            for place, name in enumerate(found["augmentation"].unique())
        }
        entries = [
            Line2D([], [], ls="", marker=mark, color=style.INK, label=shown(name) or "alone")
            for name, mark in marks.items()
        ]
        for index, (method, rows) in enumerate(found.groupby("method", sort=False)):
            colour = style.COLOURS[index % len(style.COLOURS)]
            stroke = STROKES[index // len(style.COLOURS) % len(STROKES)]
            axes.plot(rows["seconds"], rows["accuracy"], stroke, color=colour, linewidth=0.9, alpha=0.5)
            entries.append(Line2D([], [], ls=stroke, color=colour, linewidth=2, label=method))
            for row in rows.itertuples():
                axes.errorbar(
                    row.seconds,
                    row.accuracy,
                    yerr=None if pd.isna(row.error) else row.error,
                    fmt=marks[row.augmentation],
                    color=colour,
                    markersize=6,
                    elinewidth=1,
                    capsize=2,
                )
        if found["seconds"].max() > 10 * found["seconds"].min():
            axes.set_xscale("log")
        else:  # from 0, so that what is mere noise of the clock looks small
            axes.set_xlim(0, 1.08 * found["seconds"].max())
        axes.grid(color="#E6E6E6", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(title=title, ylabel="average accuracy (%)")
        axes.set_xlabel("seconds of one training, median (without those of fine-tuning and generating)")
        figure.legend(handles=entries, loc="outside right upper", labelspacing=0.55)
        return {".pdf": style.pdf(figure), ".png": style.png(figure)}
