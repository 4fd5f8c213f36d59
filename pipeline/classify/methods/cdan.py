"""Conditional domain-adversarial training: the discriminator sees features together with predictions."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.methods.adversarial import GradientReversal, warm_start
from pipeline.classify.methods.tllib import find_loss, find_module
from pipeline.classify.registry import method


@method("CDAN")
class CDAN(Method):
    """Conditional domain-adversarial network (Long et al. 2018): DANN, conditioned on the predicted classes.

    loss = cross_entropy(labelled logits [b, classes], labels [b])
         + trade_off * binary cross-entropy of D(R(h)) for labelled (1) against target (0),
    with h [2b, d * classes] the outer products of features and softmax(logits), through whose second factor
    no gradient flows; D a discriminator of three layers, `hidden` wide; R the reversal of gradients with its
    warm start. Loss and discriminator are the library's. Defaults: trade_off 1, hidden 1024.
    """

    trade_off: float = 1.0
    hidden: int = 1024

    uses_library = True
    entropy_conditioning = False

    def build(self, features: int, classes: int) -> None:
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.hidden > 0, "hidden", "above 0")
        discriminator = find_module("domain_discriminator", "DomainDiscriminator")
        self.adversarial = find_loss("cdan", "ConditionalDomainAdversarialLoss")(
            discriminator(features * classes, self.hidden), entropy_conditioning=self.entropy_conditioning
        )
        self.adversarial.grl = GradientReversal()

    def losses(self, step: Step) -> dict[str, Tensor]:
        self.adversarial.grl.coefficient = warm_start(step.progress)
        labelled, target = step.labelled, step.target
        adversarial = self.adversarial(labelled.logits, labelled.features, target.logits, target.features)
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "adversarial": self.trade_off * adversarial,
        }


@method("CDAN+E")
class EntropyConditionedCDAN(CDAN):
    """CDAN with entropy conditioning (Long et al. 2018): images of certain predictions count more.

    loss as CDAN's, each image weighing 1 + exp(-entropy of softmax(logits)), scaled to 1 on average.
    Defaults: trade_off 1, hidden 1024.
    """

    trade_off: float = 1.0
    hidden: int = 1024

    entropy_conditioning = True
