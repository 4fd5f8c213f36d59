"""Domain-adversarial training: features from which a discriminator can't tell the domain."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.methods import tllib
from pipeline.classify.methods.adversarial import GradientReversal, warm_start
from pipeline.classify.registry import method


@method("DANN")
class DANN(Method):
    """Domain-adversarial neural network (Ganin et al. 2016): features that hide their domain.

    Y. Ganin, E. Ustinova, H. Ajakan, P. Germain, H. Larochelle, F. Laviolette, M. Marchand, V. Lempitsky,
    "Domain-Adversarial Training of Neural Networks", JMLR 17, 2016.

    The loss::

        cross_entropy(labelled logits [b, classes], labels [b])
        + trade_off * binary_cross_entropy(D(R(features)) [2b, 1], 1 for labelled, 0 for target images)

    D is a discriminator of three layers, which learns to tell the domains of features [2b, d] apart. R
    reverses gradients, with a warm start, so that the features learn the opposite. Both loss and
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

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make the discriminator."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        self.require(self.hidden > 0, "hidden", "above 0")
        self.require(self.warm_up_steps >= 0, "warm_up_steps", "at least 0")
        discriminator = tllib.domain_discriminator(features, self.hidden)
        self.reversal = GradientReversal()
        self.adversarial = tllib.domain_adversarial_loss(discriminator, self.reversal)

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `adversarial`."""
        labelled, target = step.halves
        self.reversal.coefficient = warm_start(step, self.warm_up_steps)
        adversarial = self.adversarial(labelled.features, target.features)
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "adversarial": self.trade_off * adversarial,
        }
