"""Adaptive feature norm: the norms of features grow by small steps in both domains."""

import math

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from pipeline.classify.method import Method, Step, total
from pipeline.classify.registry import method

SPREAD = 0.01
"""The standard deviation of the initial weights."""


@method("AFN")
class AFN(Method):
    """Stepwise adaptive feature norm (Xu et al. 2019): the norms of all features grow by small steps.

    R. Xu, G. Li, J. Yang, L. Lin, "Larger Norm More Transferable: An Adaptive Feature Norm Approach for
    Unsupervised Domain Adaptation", ICCV 2019; its stepwise variant, SAFN.

    The loss, for features f [b, d] of each domain::

        cross_entropy(labelled logits [b, classes], labels [b])
        + trade_off * (norm_growth(labelled f, delta) + norm_growth(target f, delta))
        + trade_off_entropy * mean entropy of softmax(target logits [b, classes])

    The bottleneck is that of the transfer-learning library: blocks of Linear, BatchNorm, ReLU and a dropout
    that keeps the expected norm. Its weights and those of the head are from N(0, 0.01), BatchNorm's from
    N(1, 0.01).

    Attributes:
        trade_off: The weight of the norms, at least 0.
        delta: The step by which each norm should grow, above 0.
        trade_off_entropy: The weight of the entropy, at least 0; 0.1 in the library's script for Office-31.
        blocks: The number of blocks in the bottleneck, above 0.
    """

    trade_off: float = 0.05
    delta: float = 1.0
    trade_off_entropy: float = 0.0
    blocks: int = 1

    separate_passes = True
    version = 2

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.delta > 0, "delta", "above 0")
        self.require(self.trade_off_entropy >= 0, "trade_off_entropy", "at least 0")
        self.require(self.blocks > 0, "blocks", "above 0")

    def make_bottleneck(self, width: int, features: int) -> nn.Module:
        """Return the blocks."""
        layers: list[nn.Module] = []
        for inputs in [width] + [features] * (self.blocks - 1):
            norm = nn.BatchNorm1d(features)
            nn.init.normal_(norm.weight, mean=1.0, std=SPREAD)
            layers += [drawn(nn.Linear(inputs, features)), norm, nn.ReLU(), NormKeepingDropout(0.5)]
        return nn.Sequential(*layers)

    def make_head(self, features: int, classes: int) -> nn.Module:
        """Return a linear head."""
        return drawn(nn.Linear(features, classes))

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task`, `norm` and, if it has a weight, `entropy`."""
        growth = total(norm_growth(half.features, self.delta) for half in step.halves)
        terms = {"task": cross_entropy(step.labelled.logits, step.labels), "norm": self.trade_off * growth}
        if self.trade_off_entropy:
            _, target = step.halves
            p = softmax(target.logits, dim=1)
            # The library adds 1e-5 to probabilities.
            terms["entropy"] = -self.trade_off_entropy * (p * (p + 1e-5).log()).sum(dim=1).mean()
        return terms


def norm_growth(features: Tensor, delta: float) -> Tensor:
    """Return the mean over n of (|f_i| - (|f_i| held constant + delta))^2, for features f [n, d]: a scalar.

    Its value is always delta^2. Its gradient, -2 delta / n along f_i / |f_i|, makes the norms grow.
    """
    norms = features.norm(dim=1)
    return (norms - (norms.detach() + delta)).square().mean()


def drawn(layer: nn.Linear) -> nn.Linear:
    """Return the layer with weights and biases from N(0, SPREAD)."""
    nn.init.normal_(layer.weight, std=SPREAD)
    nn.init.normal_(layer.bias, std=SPREAD)
    return layer


class NormKeepingDropout(nn.Dropout):
    """Dropout that divides by sqrt(1 - p) instead of 1 - p, so that the expected squared norm stays."""

    def forward(self, values: Tensor) -> Tensor:
        """Return `values` with a share p of them set to 0 in training."""
        return super().forward(values) * (math.sqrt(1 - self.p) if self.training else 1)
