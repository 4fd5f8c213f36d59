"""Which class is taken for which: confusion matrices, one beside the other for what was added to training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.plots import style
from pipeline.report.tables.accuracy import shown

FEWEST_WITHOUT_NAMES = 41
"""From this many classes on, their names would be too small to read."""
FEWEST_WITHOUT_NUMBERS = 13
"""From this many classes on, the percents in the cells would be."""

MAP = "Blues"
"""One hue from light to dark: read by everybody, and in grey print."""


def shares(predictions: Sequence[Path], selection: str, classes: int) -> np.ndarray:
    """Float [classes, classes], percent of the images of class i taken for class j, over all the files together.

    predictions: predictions.npz of trainings that differ in their seeds. A class without test images is a row of NaN.
    """
    counts = np.zeros((classes, classes))
    for path in predictions:
        with np.load(path, allow_pickle=False) as arrays:
            np.add.at(counts, (arrays["labels"], arrays[f"{selection}.predicted"]), 1)
    with np.errstate(invalid="ignore"):
        return 100 * counts / counts.sum(axis=1, keepdims=True)


def draw(
    found: Mapping[str, Sequence[Path]], selection: str, classes: Sequence[str], title: str
) -> dict[str, bytes]:
    """{".pdf", ".png"} with a panel for each augmentation of `found`, which names its predictions.npz."""
    named = len(classes) < FEWEST_WITHOUT_NAMES
    side = max(2.6, 0.24 * len(classes)) if named else 5.0
    with style.house_style():
        figure = Figure(figsize=(side * len(found) + 1.4, side + 1.3), layout="constrained")
        panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for axes, (augmentation, files) in zip(panels, found.items(), strict=True):
            image = _panel(axes, shares(files, selection, len(classes)))
            axes.set_title(shown(augmentation) or "alone", size=9)
            axes.set_xticks(range(len(classes)) if named else [], classes if named else [], rotation=90)
        panels[0].set_yticks(range(len(classes)) if named else [], classes if named else [])
        panels[0].set_ylabel("true class")
        seeds = len(next(iter(found.values())))
        over = f", over {seeds} seeds" if seeds > 1 else ""
        figure.supxlabel(f"class that the network says{over}", size=9)
        figure.colorbar(image, ax=panels, label="% of the true class", fraction=0.04, pad=0.01)
        figure.suptitle(title, x=0.01, ha="left", size=10, weight="bold")
        return {".pdf": style.pdf(figure), ".png": style.png(figure)}


def _panel(axes: Axes, matrix: np.ndarray) -> object:
    """One matrix, with rounded percents in its cells where they can be read; what the colour bar is of."""
    image = axes.imshow(matrix, cmap=MAP, vmin=0, vmax=100, interpolation="nearest")
    axes.tick_params(length=0, labelsize=7.5)
    axes.spines[:].set_visible(False)
    if len(matrix) < FEWEST_WITHOUT_NUMBERS:
        for true, said in np.argwhere(matrix >= 0.5):
            share = matrix[true, said]
            colour = "white" if share > 55 else style.INK
            axes.text(said, true, f"{share:.0f}", ha="center", va="center", size=6.5, color=colour)
    return image
