"""Render the same digit in the style of any domain of the digits benchmark: exact pairs for analogies.

A shape is a digit drawn in the fonts of `mini`, which no domain uses, and distorted to resemble handwriting.
It replaces the MNIST image in the procedure by which build.py makes a domain. These pairs thus use knowledge
of how the domains were made, but none of the benchmark's images or labels.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_images

from pipeline.core.seeds import derive
from pipeline.data.digits.build import CLASSES, DRAWN, SIZE, blend, crop, enlarge
from pipeline.data.digits.fonts import GENERIC_FONTS, font_paths
from pipeline.data.digits.glyphs import GlyphStyle, colours, render

SHAPE = GlyphStyle(
    rotation=(-15.0, 15.0),
    shear=(-0.3, 0.3),
    scale=(0.55, 0.75),
    aspect=(0.75, 1.25),
    weight=(-0.01, 0.02),
    warp=(0.01, 0.06),
    palette="plain",
    grey=(1.0, 1.0),
)
"""The look of a shape."""


@lru_cache(maxsize=1)
def _generic_fonts() -> list[Path]:
    return font_paths(GENERIC_FONTS)


@lru_cache(maxsize=1)
def _photographs() -> list[np.ndarray]:
    return load_sample_images().images


def shape(label: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a digit, white on black: uint8 [32, 32]."""
    fonts = _generic_fonts()
    return render(str(label), fonts[rng.integers(len(fonts))], SIZE, rng, SHAPE)[..., 0]


def as_mnist(digit: np.ndarray, seed: int) -> np.ndarray:
    """Render `digit` in the style of MN: unchanged."""
    return np.repeat(digit[..., None], 3, axis=-1)


def as_mnist_m(digit: np.ndarray, seed: int) -> np.ndarray:
    """Render `digit` in the style of MM: blended with a crop of a photograph."""
    return blend(crop(_photographs(), seed), digit)


def as_uci(digit: np.ndarray, seed: int) -> np.ndarray:
    """Render `digit` in the style of UC: reduced to 8x8 pixels of 17 grey levels, and enlarged."""
    small = Image.fromarray(digit[2:-2, 2:-2]).resize((8, 8), Image.Resampling.BOX)
    levels = np.rint(np.asarray(small, dtype=np.float64) * 16 / 255).astype(np.int64)
    return np.repeat(np.pad(enlarge(levels[None]), ((0, 0), (2, 2), (2, 2)))[0][..., None], 3, axis=-1)


def as_drawn(digit: np.ndarray, seed: int) -> np.ndarray:
    """Render `digit` in the style of SY: one colour on another, blurred."""
    rng = np.random.default_rng(seed)
    foreground, background = colours(SIZE, rng, DRAWN)
    blur = rng.uniform(*DRAWN.blur) * SIZE
    mask = digit[..., None].astype(np.float32) / 255
    image = ndimage.gaussian_filter(
        background * (1 - mask) + foreground * mask, (blur, blur, 0), mode="nearest"
    )
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


STYLES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "MN": as_mnist,
    "MM": as_mnist_m,
    "UC": as_uci,
    "SY": as_drawn,
}
"""The function that renders a digit, uint8 [32, 32], in the style of a domain, uint8 [32, 32, 3].

Its second argument is the seed of the crop or of the colours.
"""


def exact_pairs(
    source: str, target: str, groups: int, members: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render digits in the style of `source`, and the same digits in the style of `target`.

    All members of a group share one crop or one pair of colours per domain. The change from before to after
    is therefore the same for all of them, and any two members form an analogy.

    Returns:
        Before and after, uint8 [groups, members, 32, 32, 3] each, and the classes, int64 [groups, members].
    """
    before, after = np.empty((2, groups, members, SIZE, SIZE, 3), np.uint8)
    labels = np.empty((groups, members), np.int64)
    for group in range(groups):
        source_seed, target_seed = (derive(seed, "rendered", end, group) for end in ("source", "target"))
        for member in range(members):
            rng = np.random.default_rng(derive(seed, "rendered", group, member))
            label = int(rng.integers(len(CLASSES)))
            digit = shape(label, rng)
            before[group, member] = STYLES[source](digit, source_seed)
            after[group, member] = STYLES[target](digit, target_seed)
            labels[group, member] = label
    return before, after, labels
