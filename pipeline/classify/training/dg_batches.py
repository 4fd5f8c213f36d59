"""Domain generalisation: what is held out of every source domain, and batches of equally many images of each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.classify.training.batches import Pool, gathered
from pipeline.core.errors import UserError
from pipeline.core.seeds import derive, shuffled
from pipeline.data.image_sets import ImageSet, load_whole


def split_domain(data: Path, domain: str, holdout: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """The images of a source domain to train on, and the share `holdout` of them, to the nearest, held out.

    As in DomainBed (Gulrajani and Lopez-Paz 2021) both are drawn from the whole domain, by `seed` and the name of
    the domain alone: they are the same for every method and every target. UserError if one of them would be empty.
    """
    whole = load_whole(data, domain)
    count = round(holdout * len(whole))
    if not 0 < count < len(whole):
        raise UserError(
            f"train.holdout {holdout:g} of the {len(whole)} images of domain {domain} is {count}; "
            "some must be held out, and some left"
        )
    order = np.random.default_rng(derive(seed, "holdout", domain)).permutation(len(whole))
    return whole.take(order[count:]), whole.take(order[:count])


@dataclass(frozen=True)
class DomainBatches:
    """The labelled images of a training on several domains, of each of which a batch has as many.

    sources: one pool for each domain. made: made images, which are one domain more, or None. made_weight: what
    one of them counts in the loss of the task, where one of a source counts 1.
    """

    sources: tuple[Pool, ...]
    made: Pool | None
    made_weight: float

    @property
    def pools(self) -> list[Pool]:
        """Those of all domains."""
        return [*self.sources] if self.made is None else [*self.sources, self.made]

    def batch(self, step: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Images [size * domains, 3, H, W] and labels [size * domains] of a step, domain after domain."""
        taken = [
            shuffled(len(pool), step * size, (step + 1) * size, derive(seed, "domain", domain))
            for domain, pool in enumerate(self.pools)
        ]
        return gathered(self.pools, taken, step, seed)

    def groups(self, size: int) -> tuple[Tensor, Tensor | None]:
        """The domain of each image of a batch, int64 [size * domains]; and its weight, float, None if all are 1."""
        domains = torch.arange(len(self.pools)).repeat_interleave(size)
        if self.made is None:
            return domains, None
        return domains, torch.where(domains < len(self.sources), 1.0, self.made_weight)
