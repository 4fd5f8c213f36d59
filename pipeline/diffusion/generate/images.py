"""Choose, look up and encode images: what all kinds of stage two share."""

import io
from collections.abc import Iterable

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.core.seeds import derive
from pipeline.data.image_files import fit_longer_side, read_whole
from pipeline.data.image_sets import ImageSet


def choose_balanced(source: ImageSet, per_class: int | None, seed: int) -> np.ndarray:
    """Choose images so that classes take turns, in an order that the seed decides.

    Args:
        source: A labelled set.
        per_class: The largest number of images of one class; None chooses all images.
        seed: The seed of the order.

    Returns:
        Indices into `source`, int64 [n].
    """
    order = np.random.default_rng(derive(seed, "choose")).permutation(len(source))
    labels = labels_of(source)[order]
    turns = pd.Series(labels).groupby(labels).cumcount().to_numpy()
    keep = turns < per_class if per_class is not None else np.ones(len(order), bool)
    return order[keep][np.argsort(turns[keep], kind="stable")]


def labels_of(images: ImageSet) -> np.ndarray:
    """Return the labels of a set that was loaded with them, int64 [N]."""
    if images.labels is None:
        raise ValueError("the set is unlabelled")
    return images.labels


def images_named(images: ImageSet, names: Iterable[str]) -> np.ndarray:
    """Return the images called `names`, in that order: uint8 [n, H, W, 3], or object [n], paths of files."""
    row_of = {name: row for row, name in enumerate(images.names)}
    return images.images[[row_of[name] for name in names]]


def whole_images(images: np.ndarray, longer: int) -> list[np.ndarray]:
    """Return whole images whose longer side is `longer`: uint8 [height, width, 3] each.

    Args:
        images: uint8 [n, H, W, 3], or object [n], paths of files.
        longer: In pixels.
    """
    if images.dtype == object:
        return [read_whole(path, longer) for path in images]
    return [fit_longer_side(Image.fromarray(image), longer) for image in images]


def to_png(image: np.ndarray) -> bytes:
    """Encode an image, uint8 [H, W, 3], as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
