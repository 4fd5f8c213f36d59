"""Draw confusion matrices, side by side for the augmentations of a method."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from pipeline.report.plots import style
from pipeline.report.tables.names import augmentation_name

FEWEST_WITHOUT_NAMES = 41
"""With this many classes or more, class names would be too small to read."""
FEWEST_WITHOUT_NUMBERS = 13
"""With this many classes or more, the percents in the cells would be too small to read."""

MAP = "Blues"
"""One hue from light to dark, readable for everybody and in grey print."""


def shares(predictions: Sequence[Path], selection: str, classes: int) -> np.ndarray:
    """Return the confusion matrix of all files together.

    Args:
        predictions: The predictions.npz of trainings that differ in their seeds.
        selection: The selection rule.
        classes: The number of classes.

    Returns:
        Float [classes, classes]: the percentage of images of class i that were predicted as class j. The row
        of a
        class without test images is NaN.
    """
    counts = np.zeros((classes, classes))
    for path in predictions:
        with np.load(path, allow_pickle=False) as arrays:
            np.add.at(counts, (arrays["labels"], arrays[f"{selection}.predicted"]), 1)
    with np.errstate(invalid="ignore"):
        return 100 * counts / counts.sum(axis=1, keepdims=True)


def draw(
    predictions: Mapping[str, Sequence[Path]], selection: str, classes: Sequence[str], title: str
) -> dict[str, bytes]:
    """Draw a panel for each augmentation of `predictions`, which names its predictions.npz.

    Returns:
        The files by suffix, `.pdf` and `.png`.
    """
    named = len(classes) < FEWEST_WITHOUT_NAMES
    side = max(2.6, 0.24 * len(classes)) if named else 5.0
    with style.house_style():
        figure = Figure(figsize=(side * len(predictions) + 1.4, side + 1.3), layout="constrained")
        panels = figure.subplots(1, len(predictions), sharey=True, squeeze=False)[0]
        for axes, (augmentation, files) in zip(panels, predictions.items(), strict=True):
            image = _panel(axes, shares(files, selection, len(classes)))
            axes.set_title(augmentation_name(augmentation) or "alone", size=9)
            axes.set_xticks(range(len(classes)) if named else [], classes if named else [], rotation=90)
        panels[0].set_yticks(range(len(classes)) if named else [], classes if named else [])
        panels[0].set_ylabel("true class")
        seeds = len(next(iter(predictions.values())))
        over = f", over {seeds} seeds" if seeds > 1 else ""
        figure.supxlabel(f"predicted class{over}", size=9)
        figure.colorbar(image, ax=panels, label="% of the true class", fraction=0.04, pad=0.01)
        figure.suptitle(title, x=0.01, ha="left", size=10, weight="bold")
        return {".pdf": style.pdf(figure), ".png": style.png(figure)}


def _panel(axes: Axes, matrix: np.ndarray) -> AxesImage:
    """Draw one matrix, with rounded percents where readable; return what the colour bar describes."""
    image = axes.imshow(matrix, cmap=MAP, vmin=0, vmax=100, interpolation="nearest")
    axes.tick_params(length=0, labelsize=7.5)
    axes.spines[:].set_visible(False)
    if len(matrix) < FEWEST_WITHOUT_NUMBERS:
        for true, predicted in np.argwhere(matrix >= 0.5):
            share = matrix[true, predicted]
            colour = "white" if share > 55 else style.INK
            axes.text(predicted, true, f"{share:.0f}", ha="center", va="center", size=6.5, color=colour)
    return image
