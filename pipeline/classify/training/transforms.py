"""Image transforms of training and evaluation: random crops, flips, and normalisation.

The recipe is that of the transfer-learning library's examples of image classification. Both sides are resized
to 256. Training takes RandomResizedCrop(224) or CenterCrop(224), then RandomHorizontalFlip; evaluation takes
CenterCrop(224). Pillow resizes to 256, once for each file. OpenCV resizes the crops: it is many times faster,
and differs from Pillow by less than 2 of 255 on average, because it reduces without antialiasing, but by no
more than 8/7.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.classify.training.batches import Channels, Pool, make_pool
from pipeline.classify.training_checks import check_shift
from pipeline.config import TrainSettings
from pipeline.core.prefetch import prefetch
from pipeline.data.image_files import ImageCache, ImageFiles, cache_folder, resized
from pipeline.data.image_sets import ImageSet

cv2.setNumThreads(1)  # `prefetch` gives each batch to one thread

TRIES = 10
"""The number of shapes that are drawn for a random crop until one fits, as in torchvision."""

RATIOS = 3 / 4, 4 / 3
"""The range of a random crop's width / height."""


MakePool = Callable[[ImageSet], Pool]
"""The type of `Inputs.training` and `Inputs.evaluation`."""


@dataclass(frozen=True)
class Inputs:
    """The way of one training's images to its network.

    Attributes:
        size: The height and width of the network's images, in pixels.
        mean: See `Network`.
        std: See `Network`.
        settings: The settings of crops, workers and the cache of resized images.
        folder: The folder of that cache.
    """

    size: int
    mean: Channels
    std: Channels
    settings: TrainSettings
    folder: Path = field(default_factory=cache_folder)

    @property
    def side(self) -> int:
        """The height and width that images are resized to before they are cropped."""
        return self.size if self.settings.crop == "none" else self.size * 8 // 7

    def training(self, images: ImageSet) -> Pool:
        """Make the pool of `images` that batches are drawn from; UserError if files are to be translated."""
        return self._pool(images, self.settings.augment_shift)

    def evaluation(self, images: ImageSet) -> Pool:
        """Make the pool of `images` for evaluation, on which no augmentation has an effect."""
        return self._pool(images, shift=0)

    def _pool(self, images: ImageSet, shift: int) -> Pool:
        in_files = isinstance(images, ImageFiles)
        if self.settings.crop == "none" and not in_files:
            return make_pool(images, self.size, self.mean, self.std, shift)
        if shift:
            check_shift(self.settings, in_files)
        paths: Any = images.images
        labels = images.labels
        read = (lambda index: self._cache(paths[index])) if in_files else _all_resized(paths, self.side)
        return CropPool(read, len(images), None if labels is None else torch.tensor(labels), self)

    @cached_property
    def _cache(self) -> ImageCache:
        return ImageCache(self.folder, self.side, self.settings.cache_gib * 2**30)


def _all_resized(images: np.ndarray, side: int) -> Callable[[int], np.ndarray]:
    """Resize all images, uint8 [N, H, W, 3], and return the function that gives the one at an index."""
    return np.stack([resized(Image.fromarray(image), side) for image in images]).__getitem__


@dataclass(frozen=True)
class CropPool:
    """A Pool of square images that are cropped.

    Attributes:
        read: Returns the image at an index, uint8 [side, side, 3].
        count: The number of images.
        labels: int64 [count], or None.
        inputs: How images are cropped and normalised.
    """

    read: Callable[[int], np.ndarray]
    count: int
    labels: Tensor | None
    inputs: Inputs

    def __len__(self) -> int:
        return self.count

    def augmented(self, indices: np.ndarray, seed: int) -> Tensor:
        """Return the images at `indices`, cropped and flipped at random: float32 [n, 3, size, size]."""
        return self.cropped(indices, *self.draw(len(indices), seed))

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield the centre crops of all images in order, `size` at a time: float32 [size, 3, H, W]."""
        parts = np.split(np.arange(self.count), range(size, self.count, size))
        return prefetch(self._centres, parts, self.inputs.settings.workers)

    def draw(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw the augmentation of `count` images: boxes int64 [count, 4], and flips bool [count]."""
        rng, settings, side = np.random.default_rng(seed), self.inputs.settings, self.inputs.side
        if settings.crop == "random_resized":
            boxes = random_boxes(count, side, settings.crop_scale, rng)
        else:
            boxes = centre_boxes(count, side, self.inputs.size)
        return boxes, settings.flip & (rng.random(count) < 0.5)

    def _centres(self, indices: np.ndarray) -> Tensor:
        boxes = centre_boxes(len(indices), self.inputs.side, self.inputs.size)
        return self.cropped(indices, boxes, np.zeros(len(indices), dtype=bool))

    def cropped(self, indices: np.ndarray, boxes: np.ndarray, flips: np.ndarray) -> Tensor:
        """Return crops of images, resized and normalised: float32 [n, 3, size, size].

        In memory the channels come last, which is faster.

        Args:
            indices: int64 [n].
            boxes: int64 [n, 4]: top, left, height and width of each crop.
            flips: bool [n], whether a crop is mirrored left to right.
        """
        size, (factor, offset) = self.inputs.size, self._affine
        crops = torch.empty(len(indices), size, 3 * size)
        for rows, index, box, flip in zip(crops, indices, boxes, flips, strict=True):
            top, left, height, width = box
            pixels = self.read(index)[top : top + height, left : left + width]
            pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
            if flip:
                pixels = cv2.flip(pixels, 1)
            rows.copy_(
                torch.from_numpy(pixels).view(rows.shape)
            )  # normalised below, while it is in the processor's cache
            torch.addcmul(offset, rows, factor, out=rows)
        return crops.view(len(indices), size, size, 3).permute(0, 3, 1, 2)

    @cached_property
    def _affine(self) -> tuple[Tensor, Tensor]:
        """The factor and the offset that normalise a row of pixels: float32 [3 size] each."""
        mean, std = torch.tensor(self.inputs.mean), torch.tensor(self.inputs.std)
        return (1 / (255 * std)).repeat(self.inputs.size), (-mean / std).repeat(self.inputs.size)


def centre_boxes(count: int, side: int, size: int) -> np.ndarray:
    """Return the boxes of the middle size x size of `count` images of side x side: int64 [count, 4]."""
    edge = (side - size) // 2
    return np.tile([edge, edge, size, size], (count, 1))


def random_boxes(count: int, side: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Draw boxes in images of side x side by the rule of torchvision's RandomResizedCrop.

    The area is uniform in [scale, 1] of the image's; the logarithm of width / height is uniform between those
    of RATIOS; the place is uniform among those where the box fits. If none of TRIES shapes fits, the box is
    the image.

    Args:
        count: The number of boxes.
        side: The height and width of images.
        scale: The least share of the area, in (0, 1].
        rng: The generator to draw from.

    Returns:
        int64 [count, 4]: top, left, height, width.
    """
    area = side**2 * rng.uniform(scale, 1, (TRIES, count))
    low, high = np.log(RATIOS)
    ratio = np.exp(rng.uniform(low, high, (TRIES, count)))
    shapes = np.rint(np.sqrt([area / ratio, area * ratio])).astype(np.int64)  # [2, TRIES, count]
    fits = ((shapes > 0) & (shapes <= side)).all(axis=0)
    first = np.where(fits.any(axis=0), shapes[:, fits.argmax(axis=0), np.arange(count)], side)
    return np.concatenate([rng.integers(0, side - first + 1), first]).T
