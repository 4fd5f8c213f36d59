"""The features that a trained network gives to the sets of images: what the t-SNE pictures are drawn from."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from pipeline.classify.evaluation.selection import over
from pipeline.classify.network import Network
from pipeline.classify.training.batches import Pool, joined
from pipeline.data.image_sets import ImageSet, load_labelled

PER_CLASS = 50
"""Images of each class, of each set, whose features are kept."""


def extract(network: Network, pool: Pool) -> Tensor:
    """The features of the images of `pool`: float32 [n, d]; see `over`."""
    return over(network, pool, network.features)


def pictured_sets(
    data: Path, sources: Sequence[str], target: str, made: dict[str, ImageSet], classes: int
) -> dict[str, ImageSet]:
    """What a picture shows: the first images of each class of the sources and the made sets, and the target.

    Several sources share the places of one. Of the target as many test images are taken, whatever their labels,
    which are there to colour the points.
    """
    test = load_labelled(data, target, "test")
    return {
        "source": joined(
            first_of_each(load_labelled(data, source, "train"), classes, PER_CLASS // len(sources))
            for source in sources
        ),
        "target": test.take(range(min(len(test), PER_CLASS * classes))),
    } | {name: first_of_each(images, classes) for name, images in made.items()}


def first_of_each(images: ImageSet, classes: int, count: int = PER_CLASS) -> ImageSet:
    """The first `count` images of each class, class by class."""
    return images.take(
        np.concatenate([np.flatnonzero(images.labels == label)[:count] for label in range(classes)])
    )


def features_file(
    network: Network, sets: dict[str, ImageSet], evaluated: Callable[[ImageSet], Pool]
) -> bytes:
    """features.npz: for each set S, `S.features` float32 [n, d] and `S.labels` int64 [n].

    evaluated: makes of a set the pool in which its images look as in an evaluation.
    """
    arrays = {}
    for name, images in sets.items():
        arrays[f"{name}.features"] = extract(network, evaluated(images)).numpy()
        arrays[f"{name}.labels"] = images.labels
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
