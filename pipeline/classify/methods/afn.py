"""Adaptive feature norm: features of both domains that grow by small steps."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.registry import method


@method("AFN")
class AFN(Method):
    """Stepwise adaptive feature norm (Xu et al. 2019): the norms of all features grow by small steps.

    loss = cross_entropy(labelled logits [b, classes], labels [b])
         + trade_off * (norm_growth(labelled features [b, d], delta) + norm_growth(target features, delta)).
    Defaults: trade_off 0.05, delta 1 (above 0).
    """

    trade_off: float = 0.05
    delta: float = 1.0

    def build(self, features: int, classes: int) -> None:
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.delta > 0, "delta", "above 0")

    def losses(self, step: Step) -> dict[str, Tensor]:
        halves = (step.labelled, step.target)
        growth = sum(norm_growth(half.features, self.delta) for half in halves)
        return {"task": cross_entropy(step.labelled.logits, step.labels), "norm": self.trade_off * growth}


def norm_growth(features: Tensor, delta: float) -> Tensor:
    """The mean over n of (|f_i| - (|f_i| as a constant + delta))^2, for features f [n, d]: a scalar.

    Its value is always delta^2; its gradient, -2 delta / n along f_i / |f_i|, is what makes norms grow.
    """
    norms = features.norm(dim=1)
    return (norms - (norms.detach() + delta)).square().mean()
