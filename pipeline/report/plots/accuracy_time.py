"""Draw accuracy against training time: what a better row costs."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.report.plots import style
from pipeline.report.tables.accuracy import AccuracyTable
from pipeline.report.tables.names import augmentation_name

MARKS = {"none": "o", "base": "s", "terra": "^"}
OTHERS = "DvPX*<>"
"""Markers of other augmentations, in turn."""

STROKES = ("-", "--", ":", "-.")
"""Line styles of the first eight methods, the next eight, and so on, because known are eight colours."""


def points(table: AccuracyTable, records: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `table` that average over all tasks.

    Returns:
        Columns method, augmentation, seconds (median of the row's trainings), accuracy and error (percent).
    """
    known = records[(records["selection"] == table.selection) & records["accuracy"].notna()]
    # The median, because other work on the machine lengthens some trainings.
    seconds = known.groupby(["method", "augmentation"])["seconds"].median()
    rows = [
        (
            row.method,
            row.augmentation,
            seconds[row.method, row.augmentation],
            row.average.mean,
            row.average.error,
        )
        for row in table.rows
        if row.averaged == len(row.tasks)  # averages over fewer tasks are not comparable
    ]
    return pd.DataFrame(rows, columns=["method", "augmentation", "seconds", "accuracy", "error"])


def draw(found: pd.DataFrame, title: str) -> dict[str, bytes]:
    """Draw `points`: the colour tells the method, the marker the augmentation.

    Returns:
        The files by suffix, `.pdf` and `.png`.
    """
    with style.house_style():
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        marks = {
            name: MARKS.get(name, OTHERS[place % len(OTHERS)])
            for place, name in enumerate(found["augmentation"].unique())
        }
        entries = [
            Line2D([], [], ls="", marker=mark, color=style.INK, label=augmentation_name(name) or "alone")
            for name, mark in marks.items()
        ]
        for index, (method, rows) in enumerate(found.groupby("method", sort=False)):
            colour = style.COLOURS[index % len(style.COLOURS)]
            stroke = STROKES[index // len(style.COLOURS) % len(STROKES)]
            axes.plot(rows["seconds"], rows["accuracy"], stroke, color=colour, linewidth=0.9, alpha=0.5)
            entries.append(Line2D([], [], ls=stroke, color=colour, linewidth=2, label=method))
            for row in rows.to_dict("records"):
                axes.errorbar(
                    row["seconds"],
                    row["accuracy"],
                    yerr=None if pd.isna(row["error"]) else row["error"],
                    fmt=marks[row["augmentation"]],
                    color=colour,
                    markersize=6,
                    elinewidth=1,
                    capsize=2,
                )
        if found["seconds"].max() > 10 * found["seconds"].min():
            axes.set_xscale("log")
        else:  # from 0, so that noise of the clock looks small
            axes.set_xlim(0, 1.08 * found["seconds"].max())
        axes.grid(color="#E6E6E6", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(title=title, ylabel="average accuracy (%)")
        axes.set_xlabel("seconds of one training, median (without those of fine-tuning and generating)")
        figure.legend(handles=entries, loc="outside right upper", labelspacing=0.55)
        return {".pdf": style.pdf(figure), ".png": style.png(figure)}
