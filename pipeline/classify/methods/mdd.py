"""Margin disparity discrepancy: a second head that leaves the first where target features differ."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.methods import tllib
from pipeline.classify.methods.adversarial import reverse_gradient, second_head, warm_start
from pipeline.classify.registry import method

STRENGTH = 0.1
"""The strength of gradient reversal at the end of its warm start, as in the transfer-learning library."""


@method("MDD")
class MDD(Method):
    """Margin disparity discrepancy (Zhang et al. 2019): no second head leaves the first on the target alone.

    Y. Zhang, T. Liu, M. Long, M. I. Jordan, "Bridging Theory and Algorithm for Domain Adaptation", ICML 2019.

    The loss, with an adversarial head A of two layers, on features [b, d]::

        cross_entropy(labelled logits [b, classes], labels [b])
        + trade_off * (margin * cross_entropy(A(R(labelled features)), classes predicted there)
                       - mean log(1 - softmax(A(R(target features)))[class predicted there]))

    A minimises the second term. R reverses gradients, with a warm start up to 0.1, so that the features
    maximise it. In the paper both heads have two layers; here the first is the network's linear head, which
    predicts. The second term is the transfer-learning library's.

    Attributes:
        trade_off: The weight of the disparity, at least 0.
        margin: The factor on the labelled images' share of the disparity, above 0.
        width: The width of the first layer of A.
    """

    trade_off: float = 1.0
    margin: float = 4.0
    width: int = 1024

    uses_library = True

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make the adversarial head."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.margin > 0, "margin", "above 0")
        self.require(self.width > 0, "width", "above 0")
        self.disparity = tllib.margin_disparity(self.margin)
        self.adversary = second_head(features, self.width, classes)

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `disparity`."""
        labelled, target = step.halves
        features = torch.cat([labelled.features, target.features])
        adverse = self.adversary(reverse_gradient(features, STRENGTH * warm_start(step.progress)))
        adverse_labelled, adverse_target = adverse.split([len(labelled.logits), len(target.logits)])
        disparity = self.disparity(labelled.logits, adverse_labelled, target.logits, adverse_target)
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "disparity": self.trade_off * disparity,
        }
