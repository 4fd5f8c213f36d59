"""Perceptual distances between images, by name."""

from collections.abc import Callable

import numpy as np

from pipeline.config import PIXELS
from pipeline.errors import UserError


def pixel_distances(images: np.ndarray) -> np.ndarray:
    """The root mean squares of the differences between neighbours of images uint8 [n, H, W, 3], of 1: float64 [n - 1]."""
    apart = np.diff(images.astype(np.float64) / 255, axis=0)
    return np.sqrt((apart**2).mean(axis=(1, 2, 3)))


def make_distances(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Images uint8 [n, H, W, 3] -> the distances `name` between neighbours, float64 [n - 1]."""
    if name == PIXELS:
        return pixel_distances
    raise UserError(f"there is no perceptual distance {name!r}; there is: {PIXELS}")
