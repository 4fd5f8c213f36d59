"""Views: more augmentations of a step's images, for methods that compare several views of one image.

`randaugment` is RandAugment (E. Cubuk, B. Zoph, J. Shlens, Q. Le, NeurIPS 2020) with torchvision's operations
and ranges. torchvision's own class draws from the global generator, which threads of the input path share;
here a view follows from its seed alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import functional as transform

Change = Callable[[Tensor, int], Tensor]
"""Changes images uint8 [n, 3, H, W] at random, by a seed, into images of the same type and shape."""

OPERATIONS_PER_IMAGE = 2
"""The operations that `randaugment` applies to an image, one after the other; torchvision's default."""

MAGNITUDE = 9 / 30
"""Their strength, of 1; torchvision's default: bin 9 of those from 0 to 30."""


def _moved(x: float = 0.0, y: float = 0.0) -> Callable[[Tensor, float], Tensor]:
    """Translation by a share of the width and of the height."""
    return lambda image, by: transform.affine(
        image,
        angle=0.0,
        translate=[int(x * by * image.shape[-1]), int(y * by * image.shape[-2])],
        scale=1.0,
        shear=[0.0, 0.0],
    )


def _sheared(x: float = 0.0, y: float = 0.0) -> Callable[[Tensor, float], Tensor]:
    """Shear by a slope."""
    return lambda image, by: transform.affine(
        image,
        angle=0.0,
        translate=[0, 0],
        scale=1.0,
        shear=[math.degrees(math.atan(x * by)), math.degrees(math.atan(y * by))],
        center=[0, 0],
    )


SIGNED: dict[str, Callable[[Tensor, float], Tensor]] = {
    "ShearX": _sheared(x=0.3),
    "ShearY": _sheared(y=0.3),
    "TranslateX": _moved(x=150 / 331),
    "TranslateY": _moved(y=150 / 331),
    "Rotate": lambda image, by: transform.rotate(image, 30 * by),
    "Brightness": lambda image, by: transform.adjust_brightness(image, 1 + 0.9 * by),
    "Color": lambda image, by: transform.adjust_saturation(image, 1 + 0.9 * by),
    "Contrast": lambda image, by: transform.adjust_contrast(image, 1 + 0.9 * by),
    "Sharpness": lambda image, by: transform.adjust_sharpness(image, 1 + 0.9 * by),
}
"""The operations whose strength, up to 1, gets a random sign."""

UNSIGNED: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Identity": lambda image, by: image,
    "Posterize": lambda image, by: transform.posterize(image, 8 - round(4 * by)),
    "Solarize": lambda image, by: transform.solarize(image, 255 * (1 - by)),
    "AutoContrast": lambda image, by: transform.autocontrast(image),
    "Equalize": lambda image, by: transform.equalize(image),
}
"""The other operations."""


def randaugment(pixels: Tensor, seed: int) -> Tensor:
    """Apply OPERATIONS_PER_IMAGE random operations of strength MAGNITUDE to each image.

    Args:
        pixels: uint8 [n, 3, H, W].
        seed: Decides the operations and their signs.

    Returns:
        uint8 [n, 3, H, W].
    """
    rng = np.random.default_rng(seed)
    operations = SIGNED | UNSIGNED
    names = list(operations)
    changed = []
    for image in pixels:
        for _ in range(OPERATIONS_PER_IMAGE):
            name, sign = names[rng.integers(len(names))], 1 if rng.random() < 0.5 else -1
            image = operations[name](image, MAGNITUDE * (sign if name in SIGNED else 1))
        changed.append(image)
    return torch.stack(changed)


@dataclass(frozen=True)
class View:
    """A view that a method asks for: other augmentations of the images of every step.

    The input path crops and flips the images again, by draws of the view's own, and then changes them.

    Attributes:
        name: The key in `step.views`.
        of: Whether the view shows the step's labelled images or those of the target.
        change: What happens to the pixels after cropping; None for nothing, a second weak view.
    """

    name: str
    of: Literal["labelled", "target"] = "target"
    change: Change | None = randaugment


def masked(images: Tensor, ratio: float, block: int) -> Tensor:
    """Set a share of the square blocks of each image to 0, the mean colour of normalised images.

    As in the code of masked image consistency (L. Hoyer, D. Dai, H. Wang, L. Van Gool, CVPR 2023), there are
    H / block blocks in a column and W / block in a row, both rounded. They are drawn from torch's generator,
    which the loop seeds for each step.

    Args:
        images: float32 [n, 3, H, W], normalised.
        ratio: The probability of each block to be masked, in [0, 1].
        block: The height and width of blocks, in pixels.
    """
    size = images.shape[-2:]
    rows, columns = (max(1, round(side / block)) for side in size)
    kept = torch.rand((len(images), 1, rows, columns), device=images.device) > ratio
    return images * interpolate(kept.to(images.dtype), size)
