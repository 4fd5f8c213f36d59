"""Images as tensors, and which of them each step takes.

Nothing here has a state: the batch of step 1,000 follows from the seed alone, without the 999 before it. So a
run that goes on from a checkpoint sees what it would have seen.
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


class Pool(Protocol):
    """Images that a training draws its batches from, or that it is evaluated on, normalised for a network.

    Safe to use from several threads: a batch follows from its arguments alone.
    """

    @property
    def labels(self) -> Tensor | None:
        """int64 [N], or None of unlabelled images."""

    def __len__(self) -> int:
        """N."""

    def augmented(self, indices: np.ndarray, seed: int) -> Tensor:
        """The images at `indices`, int64 [n], each changed at random as `seed` draws for it: float32 [n, 3, H, W]."""

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images as they are evaluated, in order, `size` at a time: float32 [size, 3, H, W]."""


@dataclass(frozen=True)
class MemoryPool:
    """A Pool of images in memory, augmented by translation.

    windows: float32 [N, 2s+1, 2s+1, 3, H, W], every image in every translation by up to s pixels, as a view
    of images whose border pixels were repeated outwards once. labels: int64 [N], or None.
    """

    windows: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.windows)

    def images(self) -> Tensor:
        """All images as they are: float32 [N, 3, H, W]."""
        middle = self.windows.shape[1] // 2
        return self.windows[:, middle, middle]

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images as they are, `size` at a time."""
        return iter(self.images().split(size))

    def augmented(self, indices: np.ndarray, seed: int) -> Tensor:
        """The images at `indices`, each translated as `seed` draws for it: float32 [n, 3, H, W]."""
        places = np.random.default_rng(seed).integers(self.windows.shape[1], size=(2, len(indices)))
        down, right = torch.from_numpy(places)
        return self.windows[torch.from_numpy(indices), down, right]


def make_pool(images: ImageSet, size: int, mean: Channels, std: Channels, shift: int = 0) -> MemoryPool:
    """`images` at size x size, their values v in [0, 1] made (v - mean) / std, for shifts of up to `shift`.

    In memory the channels come last, which is quicker.
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


def gathered(
    pools: Sequence[Pool], taken: Sequence[np.ndarray], step: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Images [n, 3, H, W] and labels [n] of a step: of each of the labelled `pools` those at the indices `taken`."""
    images, labels = [], []
    for kind, (pool, indices) in enumerate(zip(pools, taken, strict=True)):
        images.append(pool.augmented(indices, derive(seed, "shift", kind, step)))
        labels.append(pool.labels[torch.from_numpy(indices)])
    return torch.cat(images), torch.cat(labels)


@dataclass(frozen=True)
class Labelled:
    """The labelled images of a training: those of the source, and made ones (None if none enter).

    made_fraction: the share of made images in a batch. If it does not come to a whole number of them, batches
    alternate between the two nearest, so that it holds over all steps. None: batches come from one pool.
    """

    source: Pool
    made: Pool | None
    made_fraction: float | None

    def batch(self, step: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Images [size, 3, H, W] and labels [size] of a step."""
        pools = [self.source] if self.made is None else [self.source, self.made]
        return gathered(pools, self._indices(step, size, seed), step, seed)

    def groups(self, size: int) -> tuple[Tensor, Tensor | None]:
        """The domain of each image of a batch, int64 [size], here one; and their weights, here all alike."""
        return torch.zeros(size, dtype=torch.int64), None

    def _indices(self, step: int, size: int, seed: int) -> list[np.ndarray]:
        """What a step takes of each pool."""
        start, stop, order = step * size, (step + 1) * size, derive(seed, "labelled")
        if self.made is None:
            return [shuffled(len(self.source), start, stop, order)]
        if self.made_fraction is None:
            chosen = shuffled(len(self.source) + len(self.made), start, stop, order)
            from_source = chosen < len(self.source)
            return [chosen[from_source], chosen[~from_source] - len(self.source)]
        first, end = int(start * self.made_fraction), int(stop * self.made_fraction)  # of the made images
        return [
            shuffled(len(self.source), start - first, stop - end, order),
            shuffled(len(self.made), first, end, derive(seed, "made")),
        ]


def target_batch(pool: Pool, step: int, size: int, seed: int) -> Tensor:
    """The unlabelled target images of a step: [size, 3, H, W]."""
    indices = shuffled(len(pool), step * size, (step + 1) * size, derive(seed, "target"))
    return pool.augmented(indices, derive(seed, "shift target", step))


def joined(sets: Iterable[ImageSet]) -> ImageSet:
    """The images of several labelled sets, all in memory or all in files, as one set."""
    parts = list(sets)
    return type(parts[0])(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        [name for part in parts for name in part.names],
    )


def check_labels(images: ImageSet, classes: int, what: str) -> None:
    """UserError if a label of `images` is none of the classes; unlabelled images pass."""
    if images.labels is None:
        return
    wrong = [label for label in np.unique(images.labels) if not 0 <= label < classes]
    if wrong:
        raise UserError(f"{what}: label {wrong[0]} is not one of the {classes} classes, 0 to {classes - 1}")
