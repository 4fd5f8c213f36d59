"""Conditional domain-adversarial training: the discriminator sees features together with predictions."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.methods import tllib
from pipeline.classify.methods.adversarial import GradientReversal, warm_start
from pipeline.classify.registry import method


@method("CDAN")
class CDAN(Method):
    """Conditional domain-adversarial network (Long et al. 2018): DANN, conditioned on the predicted classes.

    M. Long, Z. Cao, J. Wang, M. I. Jordan, "Conditional Adversarial Domain Adaptation", NeurIPS 2018; with
    the multilinear map, not its randomised form.

    The loss::

        cross_entropy(labelled logits [b, classes], labels [b])
        + trade_off * binary_cross_entropy(D(R(h)) [2b, 1], 1 for labelled, 0 for target images)

    h [2b, d * classes] are the outer products of features and softmax(logits); no gradient flows through the
    predictions. R reverses gradients, with a warm start. D is a discriminator of three layers. Both loss and
    discriminator are the transfer-learning library's.

    Attributes:
        trade_off: The weight of the adversarial term, at least 0.
        hidden: The width of the discriminator.
        warm_up_steps: See `warm_start`.
    """

    trade_off: float = 1.0
    hidden: int = 1024
    warm_up_steps: int = 0

    uses_library = True
    entropy_conditioning = False

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make the discriminator."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.hidden > 0, "hidden", "above 0")
        self.require(self.warm_up_steps >= 0, "warm_up_steps", "at least 0")
        discriminator = tllib.domain_discriminator(features * classes, self.hidden)
        self.reversal = GradientReversal()
        self.adversarial = tllib.conditional_adversarial_loss(
            discriminator, self.reversal, self.entropy_conditioning
        )

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `adversarial`."""
        labelled, target = step.halves
        self.reversal.coefficient = warm_start(step, self.warm_up_steps)
        adversarial = self.adversarial(labelled.logits, labelled.features, target.logits, target.features)
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "adversarial": self.trade_off * adversarial,
        }


@method("CDAN+E")
class EntropyConditionedCDAN(CDAN):
    """CDAN with entropy conditioning (Long et al. 2018): images of certain predictions count more.

    The loss is CDAN's, with each image in the adversarial term weighted by 1 + exp(-entropy of
    softmax(logits)), scaled to 1 on average.

    Attributes:
        trade_off: The weight of the adversarial term, at least 0.
        hidden: The width of the discriminator.
        warm_up_steps: See `warm_start`.
    """

    trade_off: float = 1.0
    hidden: int = 1024
    warm_up_steps: int = 0

    entropy_conditioning = True
