"""Changes of colour, beside those of Pillow, for every colour there is."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import ColorJitter
from torchvision.transforms import functional as F

from pipeline.classify.training.colours import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    Colours,
    draw_colours,
    hue_shifts,
)

LEVELS = np.arange(256, dtype=np.uint8)
EVERY = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), axis=-1).reshape(4096, 4096, 3)
"""An image that has each of the 2**24 colours once."""


def changed(image: np.ndarray, change: int, factor: float, grey: bool = False) -> np.ndarray:
    """Apply one change alone."""
    factors = np.full((1, 3), factor, np.float32)
    turns = np.array([factor if change == HUE else 0.0])
    image, planes = image.copy(), np.empty((3, *image.shape[:2]), np.uint8)
    Colours(factors, hue_shifts(turns), np.array([[change]]), np.array([grey])).apply(image, 0, planes)
    return image


@pytest.mark.parametrize(
    ("change", "theirs", "factors"),
    [
        (BRIGHTNESS, F.adjust_brightness, (0.71, 1.0, 1.29)),
        (CONTRAST, F.adjust_contrast, (0.71, 1.29)),
        (SATURATION, F.adjust_saturation, (0.71, 1.29)),
        (HUE, F.adjust_hue, (0.0, 0.13, -0.29)),
    ],
)
def test_every_colour_changes_as_in_pillow(
    change: int, theirs: Callable[[Image.Image, float], Image.Image], factors: tuple[float, ...]
) -> None:
    for factor in factors:
        expected = theirs(Image.fromarray(EVERY), factor)
        np.testing.assert_array_equal(changed(EVERY, change, factor), np.asarray(expected))


def test_grey_is_that_of_pillow() -> None:
    expected = F.to_grayscale(Image.fromarray(EVERY), 3)
    np.testing.assert_array_equal(changed(EVERY, BRIGHTNESS, 1.0, grey=True), np.asarray(expected))


def test_changes_are_drawn_as_torchvision_draws_them() -> None:
    drawn = draw_colours(4000, 0.3, 0.1, np.random.default_rng(0))
    ranges = ColorJitter(0.3, 0.3, 0.3, 0.3)
    for column, (low, high) in enumerate((ranges.brightness, ranges.contrast, ranges.saturation)):
        assert drawn.factors[:, column].min() == pytest.approx(low, abs=1e-3)
        assert drawn.factors[:, column].max() == pytest.approx(high, abs=1e-3)
    assert [drawn.shifts.min(), drawn.shifts.max()] == [int(255 * turn) for turn in ranges.hue]
    assert len({tuple(order) for order in drawn.order}) == 24
    assert drawn.grey.mean() == pytest.approx(0.1, abs=0.03)
