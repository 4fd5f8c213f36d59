"""Correlation alignment: features of all source domains with equal means and covariances."""

from itertools import combinations

from torch import Tensor

from pipeline.classify.method import Method, Step, task_loss, total
from pipeline.classify.registry import method


@method("CORAL")
class CORAL(Method):
    """Correlation alignment (Sun and Saenko 2016) of source domains: equal means and covariances of features.

    B. Sun, K. Saenko, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation", ECCV Workshops 2016.
    The paper aligns the covariances of a source and a target (equation 1). DomainBed (I. Gulrajani, D.
    Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021), which this follows, aligns those of
    every two sources, and their means.

    The loss::

        task_loss(labelled logits [b, classes], labels [b])
        + trade_off * mean over pairs of domains (p, q) of moment_distance(features [n, d] of p, of q)

    Made images are one more domain. Their weight concerns the first term alone.

    Attributes:
        trade_off: The weight of the alignment, at least 0.
    """

    trade_off: float = 1.0

    uses_target = False
    needs_domains = True

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameter."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `alignment`; UserError if a domain has fewer than two images."""
        self.require_pairs(step)
        parts = step.labelled.features.split(step.domain_sizes)
        distances = [moment_distance(one, other) for one, other in combinations(parts, 2)]
        alignment = self.trade_off * total(distances) / len(distances)
        return {"task": task_loss(step), "alignment": alignment}


def moment_distance(one: Tensor, other: Tensor) -> Tensor:
    """Return the distance of the moments of features [n, d] and [m, d], for n and m of at least 2: a scalar.

    The mean over d of the squared differences of their means, plus the mean over d * d of those of their
    covariances, which are unbiased: sums over n images are divided by n - 1.
    """
    means = (one.mean(dim=0) - other.mean(dim=0)).square().mean()
    return means + (one.T.cov() - other.T.cov()).square().mean()
