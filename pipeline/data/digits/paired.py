"""The same digit in the manner of any domain of the digits benchmark: exact before-and-after pairs, for analogies.

A shape is a digit drawn in the fonts of ``mini`` (which no domain uses) and bent as handwriting is. A domain's manner is
how digits.py makes that domain, with a shape in the place of an MNIST image: nothing of the benchmark's images or labels
is read, but how its domains were made is known.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_images

from pipeline.core.seeds import derive
from pipeline.data.digits.build import CLASSES, DRAWN, SIZE, blend, crop, enlarge
from pipeline.data.digits.glyphs import GENERIC_FONTS, GlyphStyle, colours, font_paths, render

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


generic_fonts = lru_cache(maxsize=1)(lambda: font_paths(GENERIC_FONTS))
photographs = lru_cache(maxsize=1)(lambda: load_sample_images().images)


def shape(label: int, rng: np.random.Generator) -> np.ndarray:
    """A digit, light on black: uint8 [32, 32]."""
    fonts = generic_fonts()
    return render(str(label), fonts[rng.integers(len(fonts))], SIZE, rng, SHAPE)[..., 0]


def as_mnist(digit: np.ndarray, seed: int) -> np.ndarray:
    """MN: as it is."""
    return np.repeat(digit[..., None], 3, axis=-1)


def as_mnist_m(digit: np.ndarray, seed: int) -> np.ndarray:
    """MM: over a crop of a photograph."""
    return blend(crop(photographs(), seed), digit)


def as_uci(digit: np.ndarray, seed: int) -> np.ndarray:
    """UC: reduced to 8x8 pixels of 17 greys, and enlarged."""
    small = Image.fromarray(digit[2:-2, 2:-2]).resize((8, 8), Image.Resampling.BOX)
    levels = np.rint(np.asarray(small, dtype=np.float64) * 16 / 255).astype(np.int64)
    return np.repeat(np.pad(enlarge(levels[None]), ((0, 0), (2, 2), (2, 2)))[0][..., None], 3, axis=-1)


def as_drawn(digit: np.ndarray, seed: int) -> np.ndarray:
    """SY: one colour on another, blurred."""
    rng = np.random.default_rng(seed)
    foreground, background = colours(SIZE, rng, DRAWN)
    blur = rng.uniform(*DRAWN.blur) * SIZE
    mask = digit[..., None].astype(np.float32) / 255
    image = ndimage.gaussian_filter(
        background * (1 - mask) + foreground * mask, (blur, blur, 0), mode="nearest"
    )
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


MANNERS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "MN": as_mnist,
    "MM": as_mnist_m,
    "UC": as_uci,
    "SY": as_drawn,
}
"""A digit uint8 [32, 32] in the manner of a domain, uint8 [32, 32, 3]; the seed stands for its crop, or its colours."""


def exact_pairs(
    source: str, target: str, groups: int, members: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digits in the manner of `source`, and the same ones in that of `target`: uint8 [groups, members, 32, 32, 3] twice,
    and int64 [groups, members], their classes.

    All members of a group share one crop or one pair of colours, so that what leads from before to after is the same for
    all of them: an analogy.
    """
    before, after = np.empty((2, groups, members, SIZE, SIZE, 3), np.uint8)
    labels = np.empty((groups, members), np.int64)
    for group in range(groups):
        looks = [derive(seed, "rendered", end, group) for end in ("source", "target")]
        for member in range(members):
            rng = np.random.default_rng(derive(seed, "rendered", group, member))
            label = int(rng.integers(len(CLASSES)))
            digit = shape(label, rng)
            before[group, member] = MANNERS[source](digit, looks[0])
            after[group, member] = MANNERS[target](digit, looks[1])
            labels[group, member] = label
    return before, after, labels
