"""Margin disparity discrepancy: a second head that leaves the first where target features differ."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.methods import tllib
from pipeline.classify.methods.adversarial import reverse_gradient, warm_start
from pipeline.classify.registry import method

STRENGTH = 0.1
"""The strength of gradient reversal at the end of its warm start, as in the transfer-learning library."""


@method("MDD")
class MDD(Method):
    """Margin disparity discrepancy (Zhang et al. 2019): no second head leaves the first on the target alone.

    Y. Zhang, T. Liu, M. Long, M. I. Jordan, "Bridging Theory and Algorithm for Domain Adaptation", ICML 2019.

    The loss, with an adversarial head A, on features [b, d]::

        cross_entropy(labelled logits [b, classes], labels [b])
        + trade_off * (margin * cross_entropy(A(R(labelled features)), classes predicted there)
                       - mean log(1 - softmax(A(R(target features)))[class predicted there]))

    A minimises the second term. R reverses gradients, with a warm start up to 0.1, so that the features
    maximise it. The second term is the transfer-learning library's, and so are the layers. The network's head
    and A are Linear, ReLU, Dropout and Linear, with weights from N(0, 0.01) and biases of 0. The bottleneck
    is Linear, with weights from N(0, 0.005) and biases of 0.1, BatchNorm, ReLU and Dropout. Without
    `train.bottleneck`, the heads stand on the backbone's features, whose scale they are not drawn for.

    Attributes:
        trade_off: The weight of the disparity, at least 0.
        margin: The factor on the labelled images' share of the disparity, above 0.
        width: The width of the first layer of both heads.
        dropout: The rate of dropout in the bottleneck and in both heads, from 0 to below 1.
        warm_up_steps: See `warm_start`.
    """

    trade_off: float = 1.0
    margin: float = 4.0
    width: int = 1024
    dropout: float = 0.5
    warm_up_steps: int = 0

    uses_library = True
    version = 2

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make the adversarial head."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.margin > 0, "margin", "above 0")
        self.require(self.width > 0, "width", "above 0")
        self.require(0 <= self.dropout < 1, "dropout", "from 0 to below 1")
        self.require(self.warm_up_steps >= 0, "warm_up_steps", "at least 0")
        self.disparity = tllib.margin_disparity(self.margin)
        self.adversary = self.make_head(features, classes)

    def make_bottleneck(self, width: int, features: int) -> nn.Module:
        """Return the library's bottleneck."""
        linear = drawn(nn.Linear(width, features), spread=0.005, bias=0.1)
        return nn.Sequential(linear, nn.BatchNorm1d(features), nn.ReLU(), nn.Dropout(self.dropout))

    def make_head(self, features: int, classes: int) -> nn.Module:
        """Return a head of two layers."""
        first, second = nn.Linear(features, self.width), nn.Linear(self.width, classes)
        return nn.Sequential(drawn(first, 0.01), nn.ReLU(), nn.Dropout(self.dropout), drawn(second, 0.01))

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `disparity`."""
        labelled, target = step.halves
        features = torch.cat([labelled.features, target.features])
        strength = STRENGTH * warm_start(step, self.warm_up_steps)
        adverse = self.adversary(reverse_gradient(features, strength))
        adverse_labelled, adverse_target = adverse.split([len(labelled.logits), len(target.logits)])
        disparity = self.disparity(labelled.logits, adverse_labelled, target.logits, adverse_target)
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "disparity": self.trade_off * disparity,
        }


def drawn(layer: nn.Linear, spread: float, bias: float = 0.0) -> nn.Linear:
    """Return the layer with weights from N(0, spread) and all biases equal to `bias`."""
    nn.init.normal_(layer.weight, std=spread)
    nn.init.constant_(layer.bias, bias)
    return layer
