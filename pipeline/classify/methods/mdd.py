"""Margin disparity discrepancy: a second head that leaves the first where target features differ."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.methods.adversarial import reverse_gradient, second_head, warm_start
from pipeline.classify.methods.tllib import margin_disparity
from pipeline.classify.registry import method

STRENGTH = 0.1
"""What the reversal of gradients warms up to, as in the library."""


@method("MDD")
class MDD(Method):
    """Margin disparity discrepancy (Zhang et al. 2019): no second head can leave the first on the target alone.

    loss = cross_entropy(labelled logits [b, classes], labels [b])
         + trade_off * (margin * cross_entropy(A(R(labelled features [b, d])), classes predicted there)
                        - mean log(1 - softmax(A(R(target features [b, d])))[class predicted there])),
    with A the adversarial head, two layers and `width` wide, which minimises the sum, and R the reversal of
    gradients, with its warm start up to 0.1, by which the features maximise it. The disparity is the library's.
    In the paper both heads are of two layers; here the first is the network's linear one, which predicts.
    Defaults: trade_off 1, margin 4 (above 0), width 1024.
    """

    trade_off: float = 1.0
    margin: float = 4.0
    width: int = 1024

    uses_library = True

    def build(self, features: int, classes: int) -> None:
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.margin > 0, "margin", "above 0")
        self.require(self.width > 0, "width", "above 0")
        self.disparity = margin_disparity(self.margin)
        self.adversary = second_head(features, self.width, classes)

    def losses(self, step: Step) -> dict[str, Tensor]:
        labelled, target = step.labelled, step.target
        features = torch.cat([labelled.features, target.features])
        adverse = self.adversary(reverse_gradient(features, STRENGTH * warm_start(step.progress)))
        adverse_labelled, adverse_target = adverse.split([len(labelled.logits), len(target.logits)])
        disparity = self.disparity(labelled.logits, adverse_labelled, target.logits, adverse_target)
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "disparity": self.trade_off * disparity,
        }
