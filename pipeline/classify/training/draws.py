"""What a step draws from the data: the labelled and target images, which ones they are, and their views."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from pipeline.classify.method import Phase, View
from pipeline.classify.training.batches import (
    Channels,
    LabelledBatches,
    Pool,
    gather,
    target_batch,
)
from pipeline.classify.training.dg_batches import DomainBatches
from pipeline.classify.views import Change
from pipeline.core.seeds import derive


@dataclass(frozen=True)
class Drawn:
    """Which images a step got, and their views.

    Attributes:
        indices: See `Step`.
        target_indices: See `Step`.
        views: See `Step`.
    """

    indices: Tensor | None = None
    target_indices: Tensor | None = None
    views: dict[str, Tensor] = field(default_factory=dict)


NOTHING_DRAWN = Drawn()
"""Of a step whose images come from elsewhere than `Draws`."""


@dataclass(frozen=True)
class Draws:
    """Draws the images of any step, in any thread: everything follows from the step and the seed.

    Attributes:
        labelled: The labelled batches.
        target: The target images; None for a method that does not use them.
        views: The views that the method asks for.
        mean: See `Network`.
        std: See `Network`.
        size: train.batch_size.
        seed: Decides images and augmentation.
    """

    labelled: LabelledBatches | DomainBatches
    target: Pool | None
    views: Sequence[View]
    mean: Channels
    std: Channels
    size: int
    seed: int

    def draw(self, step: int, phase: Phase) -> tuple[Tensor, Tensor, Drawn]:
        """Return a step's images, labelled and then target images, the labels, and what else is known."""
        parts, labels, indices = [], torch.empty(0, dtype=torch.int64), None
        views = {}
        if phase.uses_labelled:
            pools, chosen = self.labelled.pools, self.labelled.chosen(step, self.size, self.seed)
            images, labels = gather(pools, chosen, step, self.seed)
            parts.append(images)
            indices = np.concatenate([start + some for start, some in zip(self._starts, chosen, strict=True)])
            for view in self._views("labelled"):
                seen, _ = gather(pools, chosen, step, derive(self.seed, "view", view.name))
                views[view.name] = self._changed(seen, view, step)
        of_target = None
        if self.target is not None and phase.uses_target:
            images, of_target = target_batch(self.target, step, self.size, self.seed)
            parts.append(images)
            for view in self._views("target"):
                seen = self.target.augmented(of_target, derive(self.seed, "view", view.name, step))
                views[view.name] = self._changed(seen, view, step)
        drawn = Drawn(_tensor(indices), _tensor(of_target), views)
        return torch.cat(parts) if len(parts) > 1 else parts[0], labels, drawn

    @cached_property
    def _starts(self) -> list[int]:
        """The index of the first image of each labelled pool."""
        return [0, *accumulate(len(pool) for pool in self.labelled.pools[:-1])]

    def _views(self, of: str) -> list[View]:
        return [view for view in self.views if view.of == of]

    def _changed(self, images: Tensor, view: View, step: int) -> Tensor:
        """A view of normalised images."""
        if view.change is None:
            return images
        return changed(images, view.change, derive(self.seed, "change", view.name, step), self.mean, self.std)


def _tensor(indices: np.ndarray | None) -> Tensor | None:
    return None if indices is None else torch.from_numpy(indices)


def changed(images: Tensor, change: Change, seed: int, mean: Channels, std: Channels) -> Tensor:
    """Change the pixels of normalised images, and normalise them again.

    Args:
        images: float32 [n, 3, H, W], normalised by `mean` and `std`. Pixels are rounded.
        change: Changes the pixels.
        seed: Decides the change.
        mean: See `Network`.
        std: See `Network`.

    Returns:
        float32 [n, 3, H, W].
    """
    centre, spread = (255 * torch.tensor(channels)[:, None, None] for channels in (mean, std))
    pixels = (images * spread + centre).round().clamp(0, 255).to(torch.uint8)
    return (change(pixels.contiguous(), seed).float() - centre) / spread
