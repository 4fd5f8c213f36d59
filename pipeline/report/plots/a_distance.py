"""Draw how far apart a trained network sees source and target, with and without made images.

The proxy A-distance (Ben-David et al., "Analysis of representations for domain adaptation", NIPS 2006) is
2 (1 - 2 err), where err is the error of a linear classifier that tells two sets apart. It is 2 where the
classifier is always right, 0 where it guesses, and negative where it is worse than a guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.core.errors import UserError
from pipeline.report.plots import style
from pipeline.report.tables.csv_text import to_csv

SEED = 0
"""Seed of the split into halves and of the classifier."""

LINES = {
    ("none", "source"): ("source, trained without made images", "o", False),
    ("base", "source"): ("source, trained with base control", "s", False),
    ("terra", "source"): ("source, trained with Terra", "o", True),
    ("base", "base"): ("base control's images", "s", True),
    ("terra", "adapted"): ("adapted source", "^", True),
    ("terra", "generated"): ("generated target", "D", True),
}
"""What is compared with the target, by augmentation of the training and set: its name, marker and whether
filled.
"""

MEASURED = {augmentation for augmentation, _ in LINES}
"""The augmentations whose trainings have a marker."""


@dataclass(frozen=True)
class Network:
    """The features.npz of one training."""

    task: str
    method: str
    augmentation: str
    features: Path


def proxy_a_distance(first: np.ndarray, second: np.ndarray, seed: int = SEED) -> float:
    """Return the proxy A-distance, from -2 to 2, of two sets of features [n, d] and [m, d].

    A linear SVM (C = 1, with balanced class weights) is trained on half of each set, standardised, and tested
    on the
    other half. err is the mean of the two sets' errors, so that the sizes of the sets make no difference.
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC
    from threadpoolctl import threadpool_limits

    features, which = np.concatenate([first, second]), np.repeat([0, 1], [len(first), len(second)])
    train, test, train_sets, test_sets = train_test_split(
        features, which, test_size=0.5, random_state=seed, stratify=which
    )
    svm = LinearSVC(class_weight="balanced", dual=False, random_state=seed)
    with threadpool_limits(1):  # another order of summation would give another number on another machine
        predicted = make_pipeline(StandardScaler(), svm).fit(train, train_sets).predict(test)
    return float(2 * (1 - 2 * (1 - balanced_accuracy_score(test_sets, predicted))))


def measure(networks: Sequence[Network]) -> pd.DataFrame:
    """Measure the distance to the target of each set that a network saw.

    Returns:
        A row for each set: task, method, augmentation, set, distance.

    Raises:
        UserError: Features hold NaN or infinity.
    """
    rows = []
    for network in networks:
        with np.load(network.features, allow_pickle=False) as arrays:
            sets = {name.removesuffix(".features"): arrays[name] for name in arrays if "features" in name}
        if not all(np.isfinite(features).all() for features in sets.values()):
            raise UserError(
                f"{network.features} holds NaN or infinity in its features: training diverged; "
                "lower learning_rate"
            )
        about = (network.task, network.method, network.augmentation)
        for augmentation, name in LINES:
            if augmentation == network.augmentation and {name, "target"} <= set(sets):
                rows.append((*about, name, proxy_a_distance(sets[name], sets["target"])))
    return pd.DataFrame(rows, columns=["task", "method", "augmentation", "set", "distance"])


def draw(networks: Sequence[Network], title: str) -> dict[str, bytes]:
    """Draw the distances to the target: tasks down, a panel for each method.

    Returns:
        The files by suffix, `.csv`, `.pdf` and `.png`.
    """
    found = measure(networks)
    tasks, methods = list(found["task"].unique())[::-1], list(found["method"].unique())
    place = {task: index for index, task in enumerate(tasks)}
    size = (max(6.4, 2.2 * len(methods) + 1), 0.4 * len(tasks) + 2.1)
    with style.house_style():
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
        for axes, method in zip(panels, methods, strict=True):
            _panel(axes, found[found["method"] == method], place)
            axes.set_title(method, size=9)
        panels[0].set_yticks(range(len(tasks)), [task.replace("->", "→") for task in tasks])
        figure.supxlabel(
            "proxy A-distance to the target's test images: 2 (1 − 2 err) of a linear SVM on halves, seed "
            f"{SEED};\n2: the features tell the sets apart, 0: they do not",
            size=7.5,
            color=style.FAINT,
            x=0.01,
            ha="left",
        )
        _legend(figure, panels, title)
        written = to_csv(found, float_format="%.4f").encode()
        return {".csv": written, ".pdf": style.pdf(figure), ".png": style.png(figure)}


def _panel(axes: Axes, found: pd.DataFrame, place: Mapping[str, int]) -> None:
    """One method's distances: markers around the line of each task, each set at its own height."""
    heights = 0.55 * (0.5 - np.arange(len(LINES)) / (len(LINES) - 1))
    kinds = zip(heights, style.COLOURS, LINES.items(), strict=False)
    for height, colour, (key, (name, marker, filled)) in kinds:
        chosen = found[(found["augmentation"] == key[0]) & (found["set"] == key[1])]
        if len(chosen):
            face = colour if filled else "white"
            axes.scatter(
                chosen["distance"],
                chosen["task"].map(place) + height,
                marker=marker,
                facecolors=face,
                edgecolors=colour,
                linewidths=1.3,
                s=30,
                label=name,
                zorder=3,
            )
    axes.axvline(0, color="#B0B0B0", linewidth=0.8)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(place) - 0.4)


def _legend(figure: Figure, panels: Sequence[Axes], title: str) -> None:
    """A legend with each marker once, under the title of the figure."""
    marks = {
        name: mark for axes in panels for mark, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    names = [name for name, _, _ in LINES.values() if name in marks]
    figure.legend(
        [marks[name] for name in names],
        names,
        loc="outside upper left",
        ncols=3,
        fontsize=8,
        handletextpad=0.2,
        title=title,
        title_fontproperties={"weight": "bold", "size": 10},
        alignment="left",
    )
