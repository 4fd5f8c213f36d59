"""Draw the accuracy of each class as bars, one colour per augmentation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.config import Suite
from pipeline.core.errors import UserError
from pipeline.report.plots import style
from pipeline.report.tables.names import AUGMENTATION_NAMES, augmentation_name

MOST = 40
"""Draw at most this many classes: those whose accuracy differs most between augmentations."""

FILL = {"none": ("#BDBDBD", ""), "base": (style.COLOURS[4], "///"), "terra": (style.COLOURS[0], "")}
"""Colour and hatching of an augmentation's bars."""

OTHERS = [(style.COLOURS[i], "") for i in (2, 3, 1, 5)]
"""Colour and hatching of the other augmentations, in turn."""


def class_accuracies(records: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return a row for each (method, augmentation, seed) of `records`, with one column per class, in percent.

    Raises:
        UserError: A record has another number of classes.
    """
    for task, shares in zip(records["task"], records["per_class"], strict=True):
        if len(shares) != len(classes):
            raise UserError(
                f"records.csv, task {task}, per_class: {len(shares)} accuracies for {len(classes)} classes; "
                "write the file again with `tables`"
            )
    rows = records.set_index(["method", "augmentation", "seed"])["per_class"]
    return pd.DataFrame(rows.to_list(), index=rows.index, columns=range(len(classes)))


def draw(records: pd.DataFrame, suite: Suite, classes: Sequence[str], title: str) -> dict[str, bytes]:
    """Draw the bars of one task and one selection rule, with a panel for each method.

    A bar is the mean over seeds, its line the standard error. A class without test images has no bar, and
    its name says so.

    Returns:
        The files by suffix, `.pdf` and `.png`.
    """
    shares = class_accuracies(records, classes)
    methods = [label for label in map(suite.label, suite.methods) if label in shares.index]
    found = shares.index.get_level_values("augmentation").unique()
    augmentations = [
        *(name for name in AUGMENTATION_NAMES if name in found),
        *(name for name in found if name not in AUGMENTATION_NAMES),
    ]
    labels = _most_changed(shares)
    size = (max(6.4, 0.42 * len(labels) + 1.2), 1.5 * len(methods) + 0.9)
    with style.house_style():
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(methods), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, method in zip(panels, methods, strict=True):
            own = shares[shares.index.get_level_values("method") == method].droplevel("method")
            _panel(axes, own[labels], augmentations)
            axes.set_ylabel(method)
        absent = shares.isna().all()  # a bar of 0 % would look the same
        names = [f"{classes[label]} (no images)" if absent[label] else classes[label] for label in labels]
        turned = sum(map(len, names)) > 8 * len(names)
        panels[-1].set_xticks(range(len(labels)), names, rotation=90 if turned else 0)
        many = f" ({MOST} of {len(classes)} classes, those that differ most)" if len(classes) > MOST else ""
        figure.suptitle(title + many, x=0.01, ha="left", size=10, weight="bold")
        figure.supylabel("accuracy of the class (%)", size=9)
        handles, entries = panels[0].get_legend_handles_labels()
        figure.legend(handles, entries, loc="outside upper right", ncols=3, fontsize=8)
        return {".pdf": style.pdf(figure), ".png": style.png(figure)}


def _most_changed(shares: pd.DataFrame) -> list[int]:
    """The labels to draw, ascending: all, or the `MOST` whose means differ most between augmentations."""
    means = shares.groupby(level=["method", "augmentation"]).mean().groupby(level="method")
    change = (means.max() - means.min()).max().fillna(0)
    return sorted(change.sort_values(ascending=False, kind="stable").index[:MOST])


def _panel(axes: Axes, shares: pd.DataFrame, augmentations: Sequence[str]) -> None:
    """One method's bars, with those of a class side by side."""
    width = 0.8 / len(augmentations)
    for index, name in enumerate(augmentations):
        if name not in shares.index:
            continue
        values = shares.loc[name]
        colour, hatch = FILL.get(name, OTHERS[index % len(OTHERS)])
        axes.bar(
            np.arange(shares.shape[1]) + (index - (len(augmentations) - 1) / 2) * width,
            values.mean(),
            width,
            yerr=values.sem() if len(values) > 1 else None,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
            label=augmentation_name(name) or "alone",
            error_kw={"elinewidth": 0.8, "ecolor": style.INK},
        )
    axes.set_ylim(0, 100)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    axes.tick_params(axis="x", length=0)
