"""The features that a trained network computes of source, target and made images, for the t-SNE figures."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from pipeline.classify.evaluation.selection import compute_over
from pipeline.classify.network import Network
from pipeline.classify.training.batches import Pool, concatenate
from pipeline.data.image_sets import ImageSet, load_labelled

PER_CLASS = 50
"""The number of images of each class, in each set, whose features are kept."""


def extract(network: Network, pool: Pool) -> Tensor:
    """Return the features of the images of `pool`: float32 [n, d] (see `compute_over`)."""
    return compute_over(network, pool, network.features)


def figure_sets(
    data: Path, sources: Sequence[str], target: str, made: dict[str, ImageSet], classes: int
) -> dict[str, ImageSet]:
    """Return the sets of images that a figure shows, by name.

    Of sources and made images these are the first of each class; several sources share the places of one. Of
    the target as many test images are taken at even distances, because files are in the order of their
    classes: the target's labels colour the points and choose nothing.

    Args:
        data: A prepare artifact.
        sources: The source domains.
        target: The target domain.
        made: The made images that entered training, by the name of their set.
        classes: The number of classes.
    """
    test = load_labelled(data, target, "test")
    return {
        "source": concatenate(
            first_of_each(load_labelled(data, source, "train"), classes, PER_CLASS // len(sources))
            for source in sources
        ),
        "target": test.take(spread(len(test), PER_CLASS * classes)),
    } | {name: first_of_each(images, classes) for name, images in made.items()}


def spread(images: int, count: int) -> np.ndarray:
    """Return the indices of at most `count` of `images`, from the first to the last at even distances."""
    return np.linspace(0, images - 1, min(images, count)).round().astype(np.int64)


def first_of_each(images: ImageSet, classes: int, count: int = PER_CLASS) -> ImageSet:
    """Return the first `count` images of each class, class by class."""
    return images.take(
        np.concatenate([np.flatnonzero(images.labels == label)[:count] for label in range(classes)])
    )


def features_file(
    network: Network, sets: dict[str, ImageSet], evaluation_pool: Callable[[ImageSet], Pool]
) -> bytes:
    """Return features.npz: `S.features` float32 [n, d] and `S.labels` int64 [n] for each set S.

    Args:
        network: The trained network.
        sets: Sets of images by name.
        evaluation_pool: Makes the pool in which the images of a set are as in an evaluation.
    """
    arrays = {}
    for name, images in sets.items():
        assert images.labels is not None
        arrays[f"{name}.features"] = extract(network, evaluation_pool(images)).numpy()
        arrays[f"{name}.labels"] = images.labels
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()
