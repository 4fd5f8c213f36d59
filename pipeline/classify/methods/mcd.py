"""Maximum classifier discrepancy: two heads that disagree where target features lie outside the source's."""

from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from pipeline.classify.method import Method, Step
from pipeline.classify.methods.adversarial import reverse_gradient, second_head, warm_start
from pipeline.classify.methods.tllib import find_loss
from pipeline.classify.registry import method


@method("MCD")
class MCD(Method):
    """Maximum classifier discrepancy (Saito et al. 2018), in one step: features on which two heads agree.

    loss = cross_entropy(labelled logits [b, classes], labels [b])
         + cross_entropy(F1(labelled features [b, d]), labels) + cross_entropy(F2(labelled features), labels)
         - trade_off * mean |softmax F1(R(target features [b, d])) - softmax F2(R(target features))|.
    This is not the paper's training of three alternating updates: the reversal of gradients R, with its warm
    start, lets one update do what the last two did, the heads maximising the discrepancy (the library's) while
    the features minimise it. F1 and F2 are two heads of two layers, `width` wide, that exist in training alone;
    the network's own head, which the paper does not have, learns the task on the same features and predicts.
    Defaults: trade_off 1, width 1024.
    """

    trade_off: float = 1.0
    width: int = 1024

    uses_library = True

    def build(self, features: int, classes: int) -> None:
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.width > 0, "width", "above 0")
        self.discrepancy = find_loss("mcd", "classifier_discrepancy")
        self.first = second_head(features, self.width, classes)
        self.second = second_head(features, self.width, classes)

    def losses(self, step: Step) -> dict[str, Tensor]:
        heads = (self.first, self.second)
        reversed_target = reverse_gradient(step.target.features, warm_start(step.progress))
        discrepancy = self.discrepancy(*(softmax(head(reversed_target), dim=1) for head in heads))
        return {
            "task": cross_entropy(step.labelled.logits, step.labels),
            "heads": sum(cross_entropy(head(step.labelled.features), step.labels) for head in heads),
            "discrepancy": -self.trade_off * discrepancy,
        }
