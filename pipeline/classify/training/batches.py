"""Images as tensors, and the batch of each step under uda.

Nothing here has a state: the batch of step 1,000 follows from the seed alone, without the 999 before it. A
training that is resumed sees the batches that it would have seen.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from pipeline.core.errors import UserError
from pipeline.core.seeds import derive, shuffled
from pipeline.data.image_sets import ImageSet

Channels = Sequence[float]
"""One number for each channel: red, green, blue."""


class Pool(Protocol):
    """Images that batches are drawn from, or that are evaluated, normalised for a network.

    A batch follows from the arguments alone, so that several threads can draw batches.
    """

    @property
    def labels(self) -> Tensor | None:
        """int64 [N], or None for unlabelled images."""

    def __len__(self) -> int:
        """Return N, the number of images."""

    def augmented(self, indices: np.ndarray, seed: int) -> Tensor:
        """Return some images, each changed at random.

        Args:
            indices: int64 [n].
            seed: Decides all changes.

        Returns:
            float32 [n, 3, H, W].
        """

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, unchanged, `size` at a time: float32 [size, 3, H, W]."""


@dataclass(frozen=True)
class MemoryPool:
    """A Pool of images in memory, augmented by translation.

    Attributes:
        windows: float32 [N, 2s+1, 2s+1, 3, H, W], each image in every translation by up to s pixels. It is a
            view of images whose border pixels were repeated outwards once.
        labels: int64 [N], or None.
    """

    windows: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.windows)

    def images(self) -> Tensor:
        """Return all images, unchanged: float32 [N, 3, H, W]."""
        middle = self.windows.shape[1] // 2
        return self.windows[:, middle, middle]

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield all images in order, unchanged, `size` at a time."""
        return iter(self.images().split(size))

    def augmented(self, indices: np.ndarray, seed: int) -> Tensor:
        """Return the images at `indices`, each translated at random: float32 [n, 3, H, W]."""
        places = np.random.default_rng(seed).integers(self.windows.shape[1], size=(2, len(indices)))
        down, right = torch.from_numpy(places)
        return self.windows[torch.from_numpy(indices), down, right]


def make_pool(images: ImageSet, size: int, mean: Channels, std: Channels, shift: int = 0) -> MemoryPool:
    """Make a pool of `images`, resized and normalised.

    In memory the channels come last, which is faster.

    Args:
        images: A set of images in memory.
        size: The height and width of the pool's images.
        mean: The mean that is subtracted from values in [0, 1].
        std: The standard deviation that values are then divided by.
        shift: The largest translation, in pixels.
    """
    pixels = torch.from_numpy(images.images).permute(0, 3, 1, 2).float()
    if pixels.shape[2:] != (size, size):
        pixels = interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    centre, spread = (255 * torch.tensor(channels)[:, None, None] for channels in (mean, std))
    pixels.sub_(centre).div_(spread)
    if shift:
        pixels = pad(pixels, (shift,) * 4, mode="replicate").contiguous(memory_format=torch.channels_last)
    windows = pixels.unfold(2, size, 1).unfold(3, size, 1).permute(0, 2, 3, 1, 4, 5)
    return MemoryPool(windows, None if images.labels is None else torch.tensor(images.labels))


def gather(
    pools: Sequence[Pool], chosen: Sequence[np.ndarray], step: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the augmented images of a step, pool after pool, and their labels.

    Args:
        pools: Labelled pools.
        chosen: The indices that are taken of each pool.
        step: The step, from 0.
        seed: With the step, decides how images are augmented.

    Returns:
        Images float32 [n, 3, H, W] and labels int64 [n].
    """
    images, labels = [], []
    for place, (pool, indices) in enumerate(zip(pools, chosen, strict=True)):
        assert pool.labels is not None
        images.append(pool.augmented(indices, derive(seed, "shift", place, step)))
        labels.append(pool.labels[torch.from_numpy(indices)])
    return torch.cat(images), torch.cat(labels)


@dataclass(frozen=True)
class LabelledBatches:
    """The labelled batches of a training under uda.

    Attributes:
        source: The source images.
        made: The made images that enter training, or None.
        made_fraction: The share of made images in a batch. If it does not come to a whole number of them,
            batches alternate between the two nearest, so that the share is right over all steps. None:
            batches are drawn from source and made images as one pool.
    """

    source: Pool
    made: Pool | None
    made_fraction: float | None

    @property
    def pools(self) -> list[Pool]:
        """The source, and the made images that enter training."""
        return [self.source] if self.made is None else [self.source, self.made]

    def batch(self, step: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return images [size, 3, H, W] and labels [size] of a step."""
        return gather(self.pools, self.chosen(step, size, seed), step, seed)

    def groups(self, size: int) -> tuple[Tensor, Tensor | None]:
        """Return the domain of each image of a batch, int64 [size], and their weights: here 0 and None."""
        return torch.zeros(size, dtype=torch.int64), None

    def chosen(self, step: int, size: int, seed: int) -> list[np.ndarray]:
        """Return the indices that a step takes of each pool."""
        start, stop, order = step * size, (step + 1) * size, derive(seed, "labelled")
        if self.made is None:
            return [shuffled(len(self.source), start, stop, order)]
        if self.made_fraction is None:
            chosen = shuffled(len(self.source) + len(self.made), start, stop, order)
            from_source = chosen < len(self.source)
            return [chosen[from_source], chosen[~from_source] - len(self.source)]
        made_start, made_stop = int(start * self.made_fraction), int(stop * self.made_fraction)
        return [
            shuffled(len(self.source), start - made_start, stop - made_stop, order),
            shuffled(len(self.made), made_start, made_stop, derive(seed, "made")),
        ]


def target_batch(pool: Pool, step: int, size: int, seed: int) -> tuple[Tensor, np.ndarray]:
    """Return the unlabelled target images of a step, [size, 3, H, W], and their indices, int64 [size]."""
    indices = shuffled(len(pool), step * size, (step + 1) * size, derive(seed, "target"))
    return pool.augmented(indices, derive(seed, "shift target", step)), indices


def concatenate(sets: Iterable[ImageSet]) -> ImageSet:
    """Return several labelled sets, all in memory or all in files, as one set."""
    parts = list(sets)
    return type(parts[0])(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts if part.labels is not None]),
        [name for part in parts for name in part.names],
    )


def check_labels(images: ImageSet, classes: int, what: str) -> None:
    """Check that the labels of `images`, if it has any, are from 0 to classes - 1.

    Raises:
        UserError: Names `what`, the set, and the first wrong label.
    """
    if images.labels is None:
        return
    wrong = [label for label in np.unique(images.labels) if not 0 <= label < classes]
    if wrong:
        raise UserError(f"{what}: label {wrong[0]} is not one of the {classes} classes, 0 to {classes - 1}")
