"""Image transforms of training and evaluation: random crops, flips, changes of colour, and normalisation.

They are those of two libraries, bit for bit but for the normalisation in float32, given the same box, factors
and file.

The transfer-learning library's examples of image classification resize both sides to 256. Training takes
RandomResizedCrop(224) or CenterCrop(224), then RandomHorizontalFlip; evaluation takes CenterCrop(224).

DomainBed cuts RandomResizedCrop(224) out of the image as it is in its file (`crop_from: original`), then
takes RandomHorizontalFlip, ColorJitter and RandomGrayscale; evaluation resizes the whole image to 224.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numba import njit
from PIL import Image
from torch import Tensor

from pipeline.classify.training.batches import Channels, Pool, make_pool
from pipeline.classify.training.boxes import centre_boxes, random_boxes
from pipeline.classify.training.colours import Colours, draw_colours
from pipeline.classify.training.resampling import resized_crop
from pipeline.classify.training_checks import check_shift
from pipeline.config import TrainSettings
from pipeline.core.prefetch import prefetch
from pipeline.data.image_files import ImageCache, ImageFiles, cache_folder, read_resized, resized
from pipeline.data.image_sets import ImageSet

MakePool = Callable[[ImageSet], Pool]
"""The type of `Inputs.training` and `Inputs.evaluation`."""

Reader = Callable[[int], np.ndarray]
"""Returns the image at an index of a set: uint8 [H, W, 3]."""


@dataclass(frozen=True)
class Inputs:
    """The way of one training's images to its network.

    Attributes:
        size: The height and width of the network's images, in pixels.
        mean: See `Network`.
        std: See `Network`.
        settings: The settings of crops, workers and the cache of decoded images.
        folder: The folder of that cache.
    """

    size: int
    mean: Channels
    std: Channels
    settings: TrainSettings
    folder: Path = field(default_factory=cache_folder)

    @property
    def side(self) -> int:
        """The height and width that whole images are resized to before the centre is taken."""
        whole = self.settings.crop == "none" or self.settings.crop_from == "original"
        return self.size if whole else self.size * 8 // 7

    def training(self, images: ImageSet) -> Pool:
        """Make the pool of `images` that batches are drawn from; UserError if files are to be translated."""
        return self._pool(images, self.settings.augment_shift)

    def evaluation(self, images: ImageSet) -> Pool:
        """Make the pool of `images` for evaluation, on which no augmentation has an effect."""
        return self._pool(images, shift=0)

    def read(self, path: str) -> np.ndarray:
        """Read and resize an image file as an evaluation does: uint8 [side, side, 3].

        Raises:
            UserError: The file is not a complete image.
        """
        return read_resized(path, self.side, self.settings.resample)

    def _pool(self, images: ImageSet, shift: int) -> Pool:
        in_files = isinstance(images, ImageFiles)
        if self.settings.crop == "none" and not in_files:
            return make_pool(images, self.size, self.mean, self.std, shift)
        if shift:
            check_shift(self.settings, in_files)
        whole, cut = self._file_readers(images.images) if in_files else self._array_readers(images.images)
        labels = None if images.labels is None else torch.tensor(images.labels)
        return CropPool(cut, whole, len(images), labels, self)

    def _file_readers(self, paths: Any) -> tuple[Reader, Reader]:
        """Return what reads the whole images at `paths`, resized, and what reads those that are cropped."""

        def cached(cache: ImageCache) -> Reader:
            return lambda index: cache(paths[index])

        whole = cached(self._squares)
        return whole, cached(self._originals) if self.settings.crop_from == "original" else whole

    def _array_readers(self, images: np.ndarray) -> tuple[Reader, Reader]:
        """Return the same for images in memory, uint8 [N, H, W, 3]."""
        squares = [resized(Image.fromarray(image), self.side, self.settings.resample) for image in images]
        whole = squares.__getitem__
        return whole, images.__getitem__ if self.settings.crop_from == "original" else whole

    @cached_property
    def _squares(self) -> ImageCache:
        return ImageCache(self.folder, self.side, self._cache_limit, self.settings.resample)

    @cached_property
    def _originals(self) -> ImageCache:
        return ImageCache(self.folder, None, self._cache_limit)

    @property
    def _cache_limit(self) -> float:
        return self.settings.cache_gib * 2**30


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for n images.

    Attributes:
        boxes: int64 [n, 4], see `boxes`.
        flips: bool [n], whether a crop is mirrored left to right.
        colours: The changes of colour, or None.
    """

    boxes: np.ndarray
    flips: np.ndarray
    colours: Colours | None = None


@dataclass(frozen=True)
class CropPool:
    """A Pool of images that are cropped.

    Attributes:
        cut: Reads the image at an index that training crops are cut out of.
        whole: Reads the image at an index as evaluation resizes it, uint8 [side, side, 3].
        count: The number of images.
        labels: int64 [count], or None.
        inputs: How images are changed and normalised.
    """

    cut: Reader
    whole: Reader
    count: int
    labels: Tensor | None
    inputs: Inputs

    def __len__(self) -> int:
        return self.count

    def augmented(self, indices: np.ndarray, seed: int) -> Tensor:
        """Return the images at `indices`, changed at random: float32 [n, 3, size, size]."""
        images = [self.cut(index) for index in indices]
        return self.changed(images, self.draw(_shapes(images), seed))

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield the centre crops of all images in order, `size` at a time: float32 [size, 3, H, W]."""
        parts = np.split(np.arange(self.count), range(size, self.count, size))
        return prefetch(self._centres, parts, self.inputs.settings.workers)

    def draw(self, shapes: np.ndarray, seed: int) -> Augmentation:
        """Draw the augmentation of images of some height and width, int64 [n, 2]."""
        rng, settings, count = np.random.default_rng(seed), self.inputs.settings, len(shapes)
        if settings.crop == "random_resized":
            boxes = random_boxes(shapes, settings.crop_scale, rng)
        else:
            boxes = centre_boxes(shapes, self.inputs.size)
        flips = settings.flip & (rng.random(count) < 0.5)
        if not settings.colour_jitter and not settings.grey:
            return Augmentation(boxes, flips)
        return Augmentation(boxes, flips, draw_colours(count, settings.colour_jitter, settings.grey, rng))

    def _centres(self, indices: np.ndarray) -> Tensor:
        images = [self.whole(index) for index in indices]
        boxes = centre_boxes(_shapes(images), self.inputs.size)
        return self.changed(images, Augmentation(boxes, np.zeros(len(indices), dtype=bool)))

    def changed(self, images: Sequence[np.ndarray], drawn: Augmentation) -> Tensor:
        """Crop, resize, flip, recolour and normalise n images, each uint8 [H, W, 3].

        In memory the channels of the result come last, which is faster.

        Returns:
            float32 [n, 3, size, size].
        """
        size, (factor, offset) = self.inputs.size, self._affine
        crops, planes = torch.empty(len(images), size, 3 * size), np.empty((3, size, size), np.uint8)
        for row, (rows, image) in enumerate(zip(crops.numpy(), images, strict=True)):
            pixels = resized_crop(image, drawn.boxes[row], size)
            if drawn.flips[row]:
                pixels = cv2.flip(pixels, 1)
            if drawn.colours is not None:
                drawn.colours.apply(pixels, row, planes)
            _normalise(pixels.reshape(rows.shape), factor, offset, rows)
        return crops.view(len(images), size, size, 3).permute(0, 3, 1, 2)

    @cached_property
    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        """The factor and the offset that normalise a row of pixels: float32 [3 size] each."""
        mean, std = (np.array(channels, np.float32) for channels in (self.inputs.mean, self.inputs.std))
        return np.tile(1 / (255 * std), self.inputs.size), np.tile(-mean / std, self.inputs.size)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _normalise(pixels: np.ndarray, factor: np.ndarray, offset: np.ndarray, result: np.ndarray) -> None:
    """Write pixels * factor + offset, row by row: uint8 [rows, m] to float32 [rows, m], while they are hot.

    Where the processor can, product and sum are rounded once, as in torch.addcmul.
    """
    for row in range(len(pixels)):
        for place in range(len(factor)):
            result[row, place] = np.float32(pixels[row, place]) * factor[place] + offset[place]


def _shapes(images: Sequence[np.ndarray]) -> np.ndarray:
    """The height and width of each image, int64 [n, 2]."""
    return np.array([image.shape[:2] for image in images], dtype=np.int64)
