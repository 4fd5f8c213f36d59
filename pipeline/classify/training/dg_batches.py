"""Domain generalisation: held-out images of source domains, and batches with equally many images of each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.classify.training.batches import Pool, gather
from pipeline.config import TrainSettings
from pipeline.core.errors import UserError
from pipeline.core.seeds import derive, shuffled
from pipeline.data.image_sets import ImageSet, load_whole


def split_domain(data: Path, domain: str, settings: TrainSettings, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split a source domain at random into images to train on, and held-out images for model selection.

    As in DomainBed (Gulrajani and Lopez-Paz, ICLR 2021), both are drawn from the whole domain. The split
    depends on the seed and the domain's name alone, so that it is the same for every method and every target.

    Args:
        data: A prepare artifact.
        domain: The domain's short form.
        settings: The share of images to hold out, and the protocol.
        seed: Decides the split.

    Raises:
        UserError: One of the two parts would be empty.
    """
    whole = load_whole(data, domain)
    kept, held = split_places(len(whole), domain, settings, seed)
    return whole.take(kept), whole.take(held)


def split_places(
    count: int, domain: str, settings: TrainSettings, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split `count` images of a domain, or of the made ones, at random.

    The number of held-out images is the nearest to their share, and in the protocol of DomainBed the integer
    part of it.

    Returns:
        The places of images to keep, and of those to hold out: int64 [count - h] and int64 [h].

    Raises:
        UserError: One of the two parts would be empty.
    """
    share = settings.holdout * count
    held = int(share) if settings.protocol == "domainbed" else round(share)
    if not 0 < held < count:
        raise UserError(
            f"train.holdout {settings.holdout:g} of the {count} images of domain {domain} is {held}; "
            "some must be held out, and some left"
        )
    order = np.random.default_rng(derive(seed, "holdout", domain)).permutation(count)
    return order[held:], order[:held]


@dataclass(frozen=True)
class DomainBatches:
    """The labelled batches of a training on several domains, with equally many images of each.

    Attributes:
        sources: One pool for each source domain.
        made: The made images that enter training, as one more domain, or None.
        made_weight: The weight of a made image in the task's loss, where a source image has the weight 1.
        replacement: Whether each image of a batch is drawn on its own, as in DomainBed. If not, every image
            of a domain is drawn once before any is drawn twice.
    """

    sources: tuple[Pool, ...]
    made: Pool | None
    made_weight: float
    replacement: bool = False

    @property
    def pools(self) -> list[Pool]:
        """The pools of all domains."""
        return [*self.sources] if self.made is None else [*self.sources, self.made]

    def batch(self, step: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return images [size * domains, 3, H, W] and labels [size * domains], domain after domain."""
        return gather(self.pools, self.chosen(step, size, seed), step, seed)

    def chosen(self, step: int, size: int, seed: int) -> list[np.ndarray]:
        """Return the indices that a step takes of each pool."""
        if self.replacement:
            return [
                np.random.default_rng(derive(seed, "domain", domain, step)).integers(len(pool), size=size)
                for domain, pool in enumerate(self.pools)
            ]
        return [
            shuffled(len(pool), step * size, (step + 1) * size, derive(seed, "domain", domain))
            for domain, pool in enumerate(self.pools)
        ]

    def groups(self, size: int) -> tuple[Tensor, Tensor | None]:
        """Return domain and weight of each image of a batch.

        Returns:
            Domains int64 [size * domains], and weights float32 [size * domains], None if all are 1.
        """
        domains = torch.arange(len(self.pools)).repeat_interleave(size)
        if self.made is None:
            return domains, None
        return domains, torch.where(domains < len(self.sources), 1.0, self.made_weight)
