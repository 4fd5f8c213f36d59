"""Maximum classifier discrepancy: two heads that disagree where target features lie outside the source's."""

from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from pipeline.classify.method import Method, Step, total
from pipeline.classify.methods import tllib
from pipeline.classify.methods.adversarial import reverse_gradient, second_head, warm_start
from pipeline.classify.registry import method


@method("MCD")
class MCD(Method):
    """Maximum classifier discrepancy (Saito et al. 2018), in one step: features on which two heads agree.

    K. Saito, K. Watanabe, Y. Ushiku, T. Harada, "Maximum Classifier Discrepancy for Unsupervised Domain
    Adaptation", CVPR 2018.

    The loss, with heads F1 and F2 of two layers, on features [b, d]::

        cross_entropy(labelled logits [b, classes], labels [b])
        + cross_entropy(F1(labelled features), labels) + cross_entropy(F2(labelled features), labels)
        - trade_off * mean |softmax F1(R(target features)) - softmax F2(R(target features))|

    This is not the paper's training of three alternating updates. R reverses gradients, with a warm start, so
    that one update does the work of the last two: the heads maximise the discrepancy while the features
    minimise it. F1 and F2 exist in training alone; the network's own head, which the paper does not have,
    learns the task on the same features and predicts. The discrepancy is the transfer-learning library's.

    Attributes:
        trade_off: The weight of the discrepancy, at least 0.
        width: The width of the first layer of both heads.
    """

    trade_off: float = 1.0
    width: int = 1024

    uses_library = True

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make both heads."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.width > 0, "width", "above 0")
        self.discrepancy = tllib.classifier_discrepancy()
        self.first = second_head(features, self.width, classes)
        self.second = second_head(features, self.width, classes)

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task`, `heads` and `discrepancy`."""
        labelled, target = step.halves
        heads = (self.first, self.second)
        reversed_target = reverse_gradient(target.features, warm_start(step.progress))
        first, second = (softmax(head(reversed_target), dim=1) for head in heads)
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "heads": total(cross_entropy(head(labelled.features), step.labels) for head in heads),
            "discrepancy": -self.trade_off * self.discrepancy(first, second),
        }
