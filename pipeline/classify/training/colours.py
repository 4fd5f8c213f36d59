"""Random changes of colour: torchvision's ColorJitter and RandomGrayscale of Pillow images, bit for bit.

Pillow computes with bytes: each of the four changes rounds, and hue is turned in steps of 1/255 of its
circle. The functions here repeat that arithmetic on three planes of bytes, one for each channel, in loops
that Numba compiles to vector instructions.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numba import njit

Number = Any
"""A number of numpy, in compiled functions."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""The changes of ColorJitter, as `Colours.order` numbers them."""


@dataclass(frozen=True)
class Colours:
    """The drawn changes of n images.

    Attributes:
        factors: float32 [n, 3], of brightness, contrast and saturation; 1 changes nothing.
        shifts: int32 [n], what is added to the byte of a hue.
        order: int64 [n, 4], in which order an image is changed.
        grey: bool [n], whether an image then becomes grey.
    """

    factors: np.ndarray
    shifts: np.ndarray
    order: np.ndarray
    grey: np.ndarray

    def apply(self, image: np.ndarray, row: int, planes: np.ndarray) -> None:
        """Make the changes of `row` to an image in place.

        Args:
            image: uint8 [H, W, 3].
            row: From 0 to n - 1.
            planes: uint8 [3, H, W] to work in, which is faster if one array serves all images.
        """
        channels = list(planes)
        cv2.split(image, channels)
        red, green, blue = planes.reshape(3, -1)
        _jitter(red, green, blue, self.order[row], self.factors[row], self.shifts[row])
        if self.grey[row]:
            _blend_with_grey(red, green, blue, 0.0)
        cv2.merge(channels, image)


def draw_colours(count: int, jitter: float, grey: float, rng: np.random.Generator) -> Colours:
    """Draw changes as ColorJitter(jitter, jitter, jitter, jitter) and RandomGrayscale(grey) do.

    Args:
        count: The number of images.
        jitter: Brightness, contrast and saturation change by factors of 1 - jitter to 1 + jitter, hue by
            -jitter to jitter of its circle.
        grey: The probability of grey.
        rng: The generator to draw from.
    """
    return Colours(
        rng.uniform(1 - jitter, 1 + jitter, (count, 3)).astype(np.float32),
        hue_shifts(rng.uniform(-jitter, jitter, count)),
        rng.permuted(np.tile(np.arange(4), (count, 1)), axis=1),
        rng.random(count) < grey,
    )


def hue_shifts(turns: np.ndarray) -> np.ndarray:
    """Convert shares of the circle of hues, from -0.5 to 0.5, to what is added to their bytes: int32."""
    return (turns * 255).astype(np.int32)


@njit(nogil=True, cache=True)
def _jitter(
    red: np.ndarray, green: np.ndarray, blue: np.ndarray, order: np.ndarray, factors: np.ndarray, shift: int
) -> None:
    for change in order:
        if change == BRIGHTNESS:
            _blend(red, 0, factors[0])
            _blend(green, 0, factors[0])
            _blend(blue, 0, factors[0])
        elif change == CONTRAST:
            mean = _mean_luma(red, green, blue)
            _blend(red, mean, factors[1])
            _blend(green, mean, factors[1])
            _blend(blue, mean, factors[1])
        elif change == SATURATION:
            _blend_with_grey(red, green, blue, factors[2])
        else:
            _turn_hue(red, green, blue, shift)


@njit(nogil=True, cache=True)
def _mixed(base: Number, value: Number, factor: Number) -> Number:
    """Pillow's `blend` of two bytes, in float32, cut off to a byte."""
    mixed = np.float32(base) + factor * np.float32(np.int32(value) - np.int32(base))
    return np.uint8(min(max(mixed, np.float32(0)), np.float32(255)))


@njit(nogil=True, cache=True)
def _luma(red: Number, green: Number, blue: Number) -> Number:
    """Pillow's conversion to grey."""
    return (19595 * np.int32(red) + 38470 * np.int32(green) + 7471 * np.int32(blue) + 32768) >> 16


@njit(nogil=True, cache=True)
def _mean_luma(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> int:
    total = 0
    for i in range(len(red)):
        total += _luma(red[i], green[i], blue[i])
    return int(total / len(red) + 0.5)


@njit(nogil=True, cache=True)
def _blend(plane: np.ndarray, base: int, factor: float) -> None:
    for i in range(len(plane)):
        plane[i] = _mixed(base, plane[i], factor)


@njit(nogil=True, cache=True)
def _blend_with_grey(red: np.ndarray, green: np.ndarray, blue: np.ndarray, factor: float) -> None:
    for i in range(len(red)):
        grey = _luma(red[i], green[i], blue[i])
        red[i] = _mixed(grey, red[i], factor)
        green[i] = _mixed(grey, green[i], factor)
        blue[i] = _mixed(grey, blue[i], factor)


@njit(nogil=True, cache=True, error_model="numpy")  # a check for division by 0 would prevent vectorising
def _turn_hue(red: np.ndarray, green: np.ndarray, blue: np.ndarray, shift: int) -> None:
    """Convert to Pillow's HSV, which are bytes, add `shift` to the hue, and convert back.

    In float32, in which all whole numbers here are exact, and quotients of them are never rounded up to the
    next whole number: the bytes equal those of Pillow for all 2**24 colours.
    """
    one, two, three, four, five = np.float32(1), np.float32(2), np.float32(3), np.float32(4), np.float32(5)
    six, top, square = np.float32(6), np.float32(255), np.float32(255 * 255)
    added = np.float32(shift & 255)
    for i in range(len(red)):
        r, g, b = np.float32(red[i]), np.float32(green[i]), np.float32(blue[i])
        value, least = max(r, max(g, b)), min(r, min(g, b))
        chroma = value - least
        middle = r + g + b - value - least
        part = (value - middle) / max(chroma, one)
        sixths = five - part if g < r else three + part  # for blue colours
        sixths = (three - part if r < b else one + part) if g == value else sixths
        sixths = (part - one if g < b else one - part) if r == value else sixths
        turn = sixths / six
        hue = _byte(turn + one if turn < 0 else turn) if chroma > 0 else np.float32(0)
        saturation = _byte(chroma / max(value, one))

        hue += added
        hue -= np.float32(256) if hue >= 256 else np.float32(0)
        sector = np.floor(hue * six / top)
        within = hue * six - top * sector
        sector = sector if sector < six else np.float32(0)
        falling = (sector == one) | (sector == three) | (sector == five)
        loss = saturation * (within if falling else top - within)
        least = np.floor((value * (top - saturation) + np.float32(127)) / top)
        middle = np.floor((value * (square - loss) + np.float32(32512)) / square)

        red_middle, green_middle = (sector == one) | (sector == four), (sector == 0) | (sector == three)
        blue_middle = (sector == two) | (sector == five)
        red_most, green_most = (sector == 0) | (sector == five), (sector == one) | (sector == two)
        blue_most = (sector == three) | (sector == four)
        red[i] = np.uint8(value if red_most else (middle if red_middle else least))
        green[i] = np.uint8(value if green_most else (middle if green_middle else least))
        blue[i] = np.uint8(value if blue_most else (middle if blue_middle else least))


@njit(nogil=True, cache=True)
def _byte(share: Number) -> Number:
    """Return the whole part of 255 `share`, unaffected by the rounding of that product."""
    product = np.floor(share * np.float32(255))
    return product - (np.float32(1) if share * np.float32(256) - product < share else np.float32(0))
