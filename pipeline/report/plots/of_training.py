"""The pictures of stage three: features, confusions and A-distances of trained networks."""

import re
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

from pipeline.config import Suite
from pipeline.report.artifacts import Artifacts, TaskArtifacts
from pipeline.report.plots import a_distance, confusion, tsne
from pipeline.report.plots.figure_cache import Picture
from pipeline.report.tables import accuracy


def distances(suite: Suite, artifacts: Artifacts) -> list[Picture]:
    """The A-distances that the networks of each row's first seed see."""
    networks = []
    for task, made in artifacts.tasks.items():
        for method, augmentation in product(map(suite.label, suite.methods), suite.augmentations):
            trained = _first_trained(suite, made, method, augmentation)
            if trained is not None and augmentation in a_distance.MEASURED:
                networks.append(a_distance.Network(task, method, augmentation, trained[1] / "features.npz"))
    if not networks:
        return []
    title = "How far from the target: before and after made images"
    parts = (title, [(net.task, net.method, net.augmentation, net.features.parent.name) for net in networks])
    draw = partial(a_distance.draw, networks, title)
    return [Picture("distance", parts, (".png", ".pdf", ".csv"), draw)]


def _first_trained(
    suite: Suite, made: TaskArtifacts, method: str, augmentation: str
) -> tuple[int, Path] | None:
    """The first seed whose training is there, and its artifact."""
    found = ((seed, made.trained.get((method, augmentation, seed))) for seed in suite.seeds)
    return next(((seed, folder) for seed, folder in found if folder is not None), None)


def network_pictures(
    name: str, shown: str, made: TaskArtifacts, classes: Sequence[str], suite: Suite
) -> list[Picture]:
    """Of stage three: for each method, the features of the network that saw most, at the first seed."""
    most = [name for name in suite.augmentations if suite.adapter_of(name)] or suite.augmentations[-1:]
    augmentation = most[0]
    made_by = accuracy.shown(augmentation)
    added = f" + {made_by}" if made_by else ""
    pictures = []
    for method in map(suite.label, suite.methods):
        trained = _first_trained(suite, made, method, augmentation)
        if trained is None:
            continue
        seed, artifact = trained
        title = f"{shown}: {method}{added}, seed {seed}"
        domains = (", ".join(made.sources), made.target)
        draw = partial(tsne.draw, artifact / "features.npz", classes, domains, title)
        parts = (artifact.name, classes, domains, title)
        file = _slug(f"tsne_{name}_{method}_{augmentation}")
        pictures.append(Picture(file, parts, (".png", ".pdf"), draw))
    return pictures


def confusions(
    name: str, shown: str, made: TaskArtifacts, classes: Sequence[str], suite: Suite
) -> list[Picture]:
    """Of stage three: for each method its confusions under the suite's first selection rule, over all seeds there are.

    Trainings from before there was predictions.npz have none.
    """
    selection, pictures = suite.selections[0], []
    for method in map(suite.label, suite.methods):
        found = {}
        for augmentation in suite.augmentations:
            trained = (made.trained.get((method, augmentation, seed)) for seed in suite.seeds)
            files = [folder / "predictions.npz" for folder in trained if folder is not None]
            found[augmentation] = [file for file in files if file.exists()]
        found = {augmentation: files for augmentation, files in found.items() if files}
        if found:
            title = f"{shown}: {method}, confusions ({accuracy.short_rule(selection)})"
            parts = (
                {key: [file.parent.name for file in files] for key, files in found.items()},
                classes,
                title,
            )
            draw = partial(confusion.draw, found, selection, classes, title)
            file = _slug(f"confusion_{name}_{method}")
            pictures.append(Picture(file, parts, (".png", ".pdf"), draw))
    return pictures


def _slug(name: str) -> str:
    """A name of a file without what shells and addresses take for something else."""
    return re.sub(r"[^\w.+=-]+", "-", name)
