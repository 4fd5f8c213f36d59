"""Adaptive feature norm: the norms of features grow by small steps in both domains."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step, total
from pipeline.classify.registry import method


@method("AFN")
class AFN(Method):
    """Stepwise adaptive feature norm (Xu et al. 2019): the norms of all features grow by small steps.

    R. Xu, G. Li, J. Yang, L. Lin, "Larger Norm More Transferable: An Adaptive Feature Norm Approach for
    Unsupervised Domain Adaptation", ICCV 2019; its stepwise variant, SAFN.

    The loss, for features f [b, d] of each domain::

        cross_entropy(labelled logits [b, classes], labels [b])
        + trade_off * (norm_growth(labelled f, delta) + norm_growth(target f, delta))

    Attributes:
        trade_off: The weight of the norms, at least 0.
        delta: The step by which each norm should grow, above 0.
    """

    trade_off: float = 0.05
    delta: float = 1.0

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.delta > 0, "delta", "above 0")

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `norm`."""
        growth = total(norm_growth(half.features, self.delta) for half in step.halves)
        return {"task": cross_entropy(step.labelled.logits, step.labels), "norm": self.trade_off * growth}


def norm_growth(features: Tensor, delta: float) -> Tensor:
    """Return the mean over n of (|f_i| - (|f_i| held constant + delta))^2, for features f [n, d]: a scalar.

    Its value is always delta^2. Its gradient, -2 delta / n along f_i / |f_i|, makes the norms grow.
    """
    norms = features.norm(dim=1)
    return (norms - (norms.detach() + delta)).square().mean()
