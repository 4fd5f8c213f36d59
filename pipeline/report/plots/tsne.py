"""Draw t-SNE embeddings of a trained network's features of real and made images, as in the Terra paper.

t-SNE: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008; computed by scikit-learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.core.errors import UserError
from pipeline.report.plots import style

SETS = ("source", "target", "adapted", "generated", "interpolated", "base")
"""The sets that features.npz may hold: `S.features` float32 [n, d] and `S.labels` [n] of each set S."""


@dataclass(frozen=True)
class Mark:
    """The marker of a set: filled for real images, hollow for made ones."""

    shape: str
    filled: bool


MARKS = {
    "source": Mark("o", filled=True),
    "target": Mark("^", filled=True),
    "adapted": Mark("o", filled=False),
    "generated": Mark("^", filled=False),
    "interpolated": Mark("D", filled=False),
    "base": Mark("s", filled=False),
}


@dataclass(frozen=True)
class Points:
    """Features [n, d] with the class and the set (index into `SETS`) of each point."""

    features: np.ndarray
    labels: np.ndarray
    sets: np.ndarray


def read_points(features: Path, labels: Sequence[int]) -> Points:
    """Read the points of features.npz whose class is among `labels`, set by set.

    Raises:
        UserError: There are fewer than three points, or features hold NaN or infinity.
    """
    parts = []
    with np.load(features, allow_pickle=False) as arrays:
        for index, name in enumerate(SETS):
            if f"{name}.features" in arrays:
                chosen = np.isin(arrays[f"{name}.labels"], labels)
                found = arrays[f"{name}.labels"][chosen]
                parts.append((arrays[f"{name}.features"][chosen], found, np.full(len(found), index)))
    if sum(len(part[1]) for part in parts) < 3:
        raise UserError(f"{features} holds fewer than three points of classes {list(labels)}; name others")
    points = Points(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    if not np.isfinite(points.features).all():
        raise UserError(
            f"{features} holds NaN or infinity in its features: training diverged; lower learning_rate"
        )
    return points


def embed(features: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Embed features [n, d] into float32 [n, 2]; the bytes do not depend on the number of cores."""
    from sklearn.manifold import TSNE  # takes a second to import; tables do not need it
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # rounding in another order would be amplified into another picture
        return TSNE(perplexity=perplexity, random_state=seed, init="pca").fit_transform(features)


def draw(
    features: Path,
    classes: Sequence[str],
    domains: tuple[str, str],
    title: str,
    *,
    labels: Sequence[int] = (0, 1, 2, 3),
    perplexity: float = 30.0,
    seed: int = 0,
) -> dict[str, bytes]:
    """Draw the points of `labels` in features.npz.

    Args:
        features: The file.
        classes: All class names by label.
        domains: The names of source and target.
        title: The title.
        labels: At most eight, because there are eight colours that everybody can tell apart.
        perplexity: Lowered where there are fewer than three times as many points; the figure states the one
            used.
        seed: The random seed.

    Returns:
        The files by suffix, `.png` and `.pdf`.
    """
    points = read_points(features, labels)
    perplexity = min(perplexity, len(points.labels) // 3)
    places = embed(points.features, perplexity, seed)
    with style.house_style():
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        _scatter(axes, places, points, labels)
        _legend(figure, points, classes, domains, labels)
        axes.set(xticks=[], yticks=[], title=title)
        axes.set_xlabel(
            f"t-SNE of the trained network's features: perplexity {perplexity:g}, random seed {seed}",
            color=style.FAINT,
            loc="left",
            size=7.5,
        )
        return {".png": style.png(figure), ".pdf": style.pdf(figure)}


def _scatter(axes: Axes, places: np.ndarray, points: Points, labels: Sequence[int]) -> None:
    """Draw every set in turn, made images over real ones, because hollow markers hide nothing."""
    for index, name in enumerate(SETS):
        for colour, label in zip(style.COLOURS, labels, strict=False):
            x, y = places[(points.sets == index) & (points.labels == label)].T
            face, edge, line = (colour, "white", 0.3) if MARKS[name].filled else ("none", colour, 0.9)
            axes.scatter(
                x,
                y,
                s=18,
                marker=MARKS[name].shape,
                facecolors=face,
                edgecolors=edge,
                linewidths=line,
                alpha=0.85,
            )


def _legend(
    figure: Figure, points: Points, classes: Sequence[str], domains: tuple[str, str], labels: Sequence[int]
) -> None:
    """A legend to the right: sets by marker, classes by colour."""
    names = {
        "source": f"source ({domains[0]})",
        "target": f"target ({domains[1]})",
        "adapted": "adapted source",
        "generated": "generated target",
        "interpolated": "interpolated domains",
        "base": "un-adapted model",
    }
    entries = [Line2D([], [], ls="", label="Images")]
    for index in np.unique(points.sets):
        mark = MARKS[SETS[index]]
        fill = style.INK if mark.filled else "none"
        line = Line2D(
            [], [], ls="", marker=mark.shape, mfc=fill, mec=style.INK, ms=5, label=names[SETS[index]]
        )
        entries.append(line)
    entries += [Line2D([], [], ls="", label=""), Line2D([], [], ls="", label="Classes")]
    for colour, label in zip(style.COLOURS, labels, strict=False):
        if (points.labels == label).any():
            entries.append(Line2D([], [], ls="", marker="s", color=colour, ms=6, label=classes[label]))
    legend = figure.legend(handles=entries, loc="outside right upper", handletextpad=0.4, labelspacing=0.55)
    for text in legend.get_texts():
        if text.get_text() in ("Images", "Classes"):
            text.set_fontweight("bold")
