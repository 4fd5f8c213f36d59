"""Domain-adversarial training: features from which a discriminator can't tell the domain."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.methods.adversarial import GradientReversal, warm_start
from pipeline.classify.methods.tllib import find_loss, find_module
from pipeline.classify.registry import method


@method("DANN")
class DANN(Method):
    """Domain-adversarial neural network (Ganin et al. 2016): features that hide the domain from a discriminator.

    loss = cross_entropy(labelled logits [b, classes], labels [b])
         + trade_off * binary cross-entropy of D(R(features [2b, d])) for labelled (1) against target (0),
    with D a discriminator of three layers, `hidden` wide, and R the reversal of gradients with its warm start.
    Loss and discriminator are the library's. Defaults: trade_off 1, hidden 1024.
    """

    trade_off: float = 1.0
    hidden: int = 1024

    uses_library = True

    def build(self, features: int, classes: int) -> None:
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.hidden > 0, "hidden", "above 0")
        discriminator = find_module("domain_discriminator", "DomainDiscriminator")(features, self.hidden)
        self.adversarial = find_loss("dann", "DomainAdversarialLoss")(discriminator)
        self.adversarial.grl = GradientReversal()

    def losses(self, step: Step) -> dict[str, Tensor]:
        self.adversarial.grl.coefficient = warm_start(step.progress)
        adversarial = self.adversarial(step.labelled.features, step.target.features)
        return {
            "task": cross_entropy(step.labelled.logits, step.labels),
            "adversarial": self.trade_off * adversarial,
        }
