"""The way of images into training: cropped at random, flipped and normalised, batch by batch.

The recipe is that of the transfer-learning library (thuml, examples/domain_adaptation/image_classification): both
sides resized to 256; for training RandomResizedCrop(224) or CenterCrop(224), then RandomHorizontalFlip; for
evaluation CenterCrop(224). Resizing to 256 is Pillow's, once for each file; the crops are resized by OpenCV, which
is many times faster and differs from Pillow by less than 2 of 255 on average (it reduces without antialiasing, but
never by more than 8/7).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.classify.training.batches import Channels, Pool, make_pool
from pipeline.classify.training.prefetch import ahead
from pipeline.config import TrainSettings
from pipeline.core.errors import UserError
from pipeline.data.image_files import ImageCache, ImageFiles, cache_folder, resized
from pipeline.data.image_sets import ImageSet

cv2.setNumThreads(1)  # a batch is one thread's work: see `ahead`

TRIES = 10
"""How often a random crop that does not fit is drawn anew, as in torchvision."""

RATIOS = 3 / 4, 4 / 3
"""Of a random crop's width to its height."""


MakePool = Callable[[ImageSet], Pool]
"""Inputs.training or Inputs.evaluation."""


@dataclass(frozen=True)
class Inputs:
    """How the images of one training reach its network.

    size: of what the network takes, in pixels. mean, std: see Network. settings: of crops, workers and the cache,
    which is in `folder`.
    """

    size: int
    mean: Channels
    std: Channels
    settings: TrainSettings
    folder: Path = field(default_factory=cache_folder)

    @property
    def side(self) -> int:
        """The size that images are resized to before they are cropped."""
        return self.size if self.settings.crop == "none" else self.size * 8 // 7

    def training(self, images: ImageSet) -> Pool:
        """The pool of `images` that batches are drawn from. UserError for files that are to be translated."""
        return self._pool(images, self.settings.augment_shift)

    def evaluation(self, images: ImageSet) -> Pool:
        """The pool of `images` for `batches` alone, which no setting of training but `crop` concerns."""
        return self._pool(images, shift=0)

    def _pool(self, images: ImageSet, shift: int) -> Pool:
        in_files = isinstance(images, ImageFiles)
        if self.settings.crop == "none" and not in_files:
            return make_pool(images, self.size, self.mean, self.std, shift)
        if shift:
            raise UserError("train.augment_shift is for images in memory: with files, use train.crop instead")
        paths, labels = images.images, images.labels
        read = (lambda index: self._cache(paths[index])) if in_files else _all_resized(paths, self.side)
        return CropPool(read, len(images), None if labels is None else torch.tensor(labels), self)

    @cached_property
    def _cache(self) -> ImageCache:
        return ImageCache(self.folder, self.side, self.settings.cache_gib * 2**30)


def _all_resized(images: np.ndarray, side: int) -> Callable[[int], np.ndarray]:
    """Gives the image at an index of uint8 [N, H, W, 3], all of which are resized now."""
    return np.stack([resized(Image.fromarray(image), side) for image in images]).__getitem__


@dataclass(frozen=True)
class CropPool:
    """A Pool of square images of which training sees crops.

    read: the image at an index, uint8 [side, side, 3]. labels: int64 [count], or None.
    """

    read: Callable[[int], np.ndarray]
    count: int
    labels: Tensor | None
    inputs: Inputs

    def __len__(self) -> int:
        return self.count

    def augmented(self, indices: np.ndarray, seed: int) -> Tensor:
        """The images at `indices`, each cropped and flipped as `seed` draws for it: float32 [n, 3, size, size]."""
        return self.cropped(indices, *self.draw(len(indices), seed))

    def batches(self, size: int) -> Iterator[Tensor]:
        """The centres of all images, `size` at a time."""
        parts = np.split(np.arange(self.count), range(size, self.count, size))
        return ahead(self._centres, parts, self.inputs.settings.workers)

    def draw(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """What training sees of `count` images: boxes int64 [count, 4], and whether mirrored, bool [count]."""
        rng, settings, side = np.random.default_rng(seed), self.inputs.settings, self.inputs.side
        if settings.crop == "random_resized":
            boxes = random_boxes(count, side, settings.crop_scale, rng)
        else:
            boxes = centre_boxes(count, side, self.inputs.size)
        return boxes, settings.flip & (rng.random(count) < 0.5)

    def _centres(self, indices: np.ndarray) -> Tensor:
        boxes = centre_boxes(len(indices), self.inputs.side, self.inputs.size)
        return self.cropped(indices, boxes, np.zeros(len(indices), dtype=bool))

    def cropped(self, indices: np.ndarray, boxes: np.ndarray, mirrored: np.ndarray) -> Tensor:
        """The images at `indices`, of each its box, resized and normalised: float32 [n, 3, size, size].

        boxes: int64 [n, 4], top, left, height, width. mirrored: bool [n], whether left and right change places.
        In memory the channels come last, which is quicker.
        """
        size, (factor, offset) = self.inputs.size, self._affine
        made = torch.empty(len(indices), size, 3 * size)
        for rows, index, box, mirror in zip(made, indices, boxes, mirrored, strict=True):
            top, left, height, width = box
            pixels = self.read(index)[top : top + height, left : left + width]
            pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
            if mirror:
                pixels = cv2.flip(pixels, 1)
            rows.copy_(torch.from_numpy(pixels).view(rows.shape))  # while they are in the processor's cache
            torch.addcmul(offset, rows, factor, out=rows)
        return made.view(len(indices), size, size, 3).permute(0, 3, 1, 2)

    @cached_property
    def _affine(self) -> tuple[Tensor, Tensor]:
        """What normalises a row of pixels, as a factor and an offset: float32 [3 size] each."""
        mean, std = torch.tensor(self.inputs.mean), torch.tensor(self.inputs.std)
        return (1 / (255 * std)).repeat(self.inputs.size), (-mean / std).repeat(self.inputs.size)


def centre_boxes(count: int, side: int, size: int) -> np.ndarray:
    """The middle size x size of images of side x side, for each: int64 [count, 4], as `cropped` takes them."""
    edge = (side - size) // 2
    return np.tile([edge, edge, size, size], (count, 1))


def random_boxes(count: int, side: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Parts of images of side x side by the rule of torchvision's RandomResizedCrop: int64 [count, 4].

    A share of the area uniform in [scale, 1], the logarithm of width / height uniform between those of RATIOS, a
    place uniform among those where it fits; all of the image if TRIES shapes in a row do not fit.
    """
    area = side**2 * rng.uniform(scale, 1, (TRIES, count))
    ratio = np.exp(rng.uniform(*np.log(RATIOS), (TRIES, count)))
    shapes = np.rint(np.sqrt([area / ratio, area * ratio])).astype(np.int64)  # [2, TRIES, count]
    fits = ((shapes > 0) & (shapes <= side)).all(axis=0)
    first = np.where(fits.any(axis=0), shapes[:, fits.argmax(axis=0), np.arange(count)], side)
    return np.concatenate([rng.integers(0, side - first + 1), first]).T
