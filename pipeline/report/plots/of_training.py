"""List the figures of stage three: features, confusions and A-distances of trained networks."""

from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

from pipeline.config import Suite
from pipeline.config.names import file_stem
from pipeline.report.artifacts import Artifacts, TaskArtifacts
from pipeline.report.plots import a_distance, confusion, tsne
from pipeline.report.plots.figure_cache import FigureSpec
from pipeline.report.tables.names import row_name, rule_name

FEATURES = "features.npz"
"""The file of features of a training; a method that is not trained has none."""


def distances(suite: Suite, artifacts: Artifacts) -> list[FigureSpec]:
    """Return the figure of A-distances, measured with the network of each row's first seed."""
    networks = []
    for task, made in artifacts.tasks.items():
        for method, augmentation in product(map(suite.label, suite.methods), suite.augmentations):
            trained = _first_trained(suite, made, method, augmentation)
            if trained is not None and augmentation in a_distance.MEASURED:
                networks.append(a_distance.Network(task, method, augmentation, trained[1] / FEATURES))
    if not networks:
        return []
    title = "How far from the target: before and after made images"
    parts = (title, [(net.task, net.method, net.augmentation, net.features.parent.name) for net in networks])
    draw = partial(a_distance.draw, networks, title)
    return [FigureSpec("distance", parts, (".png", ".pdf", ".csv"), draw)]


def _first_trained(
    suite: Suite, made: TaskArtifacts, method: str, augmentation: str
) -> tuple[int, Path] | None:
    """The first seed that has a training with features.npz, and its artifact."""
    found = ((seed, made.trained.get((method, augmentation, seed))) for seed in suite.seeds)
    return next(((seed, folder) for seed, folder in found if folder and (folder / FEATURES).exists()), None)


def network_figures(
    name: str, heading: str, made: TaskArtifacts, classes: Sequence[str], suite: Suite
) -> list[FigureSpec]:
    """Return a t-SNE figure for each method: the first seed's features with the suite's first adapter."""
    most = [name for name in suite.augmentations if suite.adapter_of(name)] or suite.augmentations[-1:]
    augmentation = most[0]
    figures = []
    for method in map(suite.label, suite.methods):
        trained = _first_trained(suite, made, method, augmentation)
        if trained is None:
            continue
        seed, artifact = trained
        title = f"{heading}: {row_name(method, augmentation)}, seed {seed}"
        domains = (", ".join(made.sources), made.target)
        draw = partial(tsne.draw, artifact / FEATURES, classes, domains, title)
        parts = (artifact.name, classes, domains, title)
        file = file_stem(f"tsne_{name}_{method}_{augmentation}")
        figures.append(FigureSpec(file, parts, (".png", ".pdf"), draw))
    return figures


def confusions(
    name: str, heading: str, made: TaskArtifacts, classes: Sequence[str], suite: Suite
) -> list[FigureSpec]:
    """Return a figure for each method: its confusion matrices under the first selection rule, over all seeds.

    A training without predictions.npz is left out.
    """
    selection, figures = suite.selections[0], []
    for method in map(suite.label, suite.methods):
        found = {}
        for augmentation in suite.augmentations:
            trained = (made.trained.get((method, augmentation, seed)) for seed in suite.seeds)
            files = [folder / "predictions.npz" for folder in trained if folder is not None]
            found[augmentation] = [file for file in files if file.exists()]
        found = {augmentation: files for augmentation, files in found.items() if files}
        if found:
            title = f"{heading}: {method}, confusions ({rule_name(selection)})"
            parts = (
                {key: [file.parent.name for file in files] for key, files in found.items()},
                classes,
                title,
            )
            draw = partial(confusion.draw, found, selection, classes, title)
            file = file_stem(f"confusion_{name}_{method}")
            figures.append(FigureSpec(file, parts, (".png", ".pdf"), draw))
    return figures
