"""Correlation alignment: features of all source domains with the same mean and covariance."""

from itertools import combinations

from torch import Tensor

from pipeline.classify.method import Method, Step, task_loss
from pipeline.classify.registry import method


@method("CORAL")
class CORAL(Method):
    """Correlation alignment (Sun and Saenko 2016), as DomainBed has it: domains that differ little in features.

    loss = cross-entropy of the labelled logits [b, classes] for labels [b]
         + trade_off * mean over the pairs of domains of moment_distance(features of one, of the other).
    The paper aligns the covariances of a source and a target; DomainBed (Gulrajani and Lopez-Paz 2021) those of
    every two sources, and their means. Made images are a domain like any other here; their weight is for the
    cross-entropy alone. Defaults: trade_off 1. Needs two images of every domain.
    """

    trade_off: float = 1.0

    uses_target = False
    needs_domains = True

    def build(self, features: int, classes: int) -> None:
        self.require(self.trade_off >= 0, "trade_off", "at least 0")

    def losses(self, step: Step) -> dict[str, Tensor]:
        self.require_pairs(step)
        parts = [step.labelled.features[step.domains == domain] for domain in step.domains.unique()]
        distances = [moment_distance(one, other) for one, other in combinations(parts, 2)]
        return {"task": task_loss(step), "alignment": self.trade_off * sum(distances) / len(distances)}


def moment_distance(one: Tensor, other: Tensor) -> Tensor:
    """How far the moments of features [n, d] and [m, d] are apart: a scalar, for n and m of at least 2.

    The mean over d of the squared differences of their means, plus the mean over d * d of those of their
    covariances, whose sums of n products are divided by n - 1.
    """
    means = (one.mean(dim=0) - other.mean(dim=0)).square().mean()
    return means + (one.T.cov() - other.T.cov()).square().mean()
