"""Boxes of crops: the centre, or drawn by the rule of torchvision's RandomResizedCrop.

A box is its top, left, height and width in pixels.
"""

import numpy as np

TRIES = 10
"""The number of shapes that are drawn for a random crop until one fits, as in torchvision."""

RATIOS = 3 / 4, 4 / 3
"""The range of a random crop's width / height."""


def centre_boxes(shapes: np.ndarray, size: int) -> np.ndarray:
    """Return the boxes of the middle size x size of images.

    Args:
        shapes: int64 [n, 2], height and width of each image.
        size: Height and width of the boxes.

    Returns:
        int64 [n, 4].
    """
    return np.concatenate([(shapes - size) // 2, np.full_like(shapes, size)], axis=1)


def random_boxes(shapes: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a box in each of some images.

    The area is uniform in [scale, 1] of the image's; the logarithm of width / height is uniform between those
    of RATIOS; the place is uniform among those where the box fits. If none of TRIES shapes fits, the box is
    the largest in the middle of the image whose width / height is in RATIOS.

    Args:
        shapes: int64 [n, 2], height and width of each image.
        scale: The least share of the area, in (0, 1].
        rng: The generator to draw from.

    Returns:
        int64 [n, 4].
    """
    count, sides = len(shapes), shapes.T
    area = sides.prod(axis=0) * rng.uniform(scale, 1, (TRIES, count))
    low, high = np.log(RATIOS)
    ratio = np.exp(rng.uniform(low, high, (TRIES, count)))
    drawn = np.rint(np.sqrt([area / ratio, area * ratio])).astype(np.int64)  # [2, TRIES, count]
    fits = ((drawn > 0) & (drawn <= sides[:, None])).all(axis=0)
    found = fits.any(axis=0)
    chosen = np.where(found, drawn[:, fits.argmax(axis=0), np.arange(count)], _largest(sides))
    places = rng.integers(0, sides - chosen + 1)
    return np.concatenate([np.where(found, places, (sides - chosen) // 2), chosen]).T


def _largest(sides: np.ndarray) -> np.ndarray:
    """The largest height and width within `sides`, both int64 [2, n], whose ratio is in RATIOS."""
    height, width = sides
    low, high = RATIOS
    return np.stack(
        [
            np.minimum(height, np.rint(width / low).astype(np.int64)),
            np.minimum(width, np.rint(height * high).astype(np.int64)),
        ]
    )
