"""Masked image consistency: SDAT, and a teacher whose classes of whole images masked ones must find."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.ema import EMA
from pipeline.classify.method import Step
from pipeline.classify.methods.sdat import SDAT
from pipeline.classify.network import Network
from pipeline.classify.registry import method
from pipeline.classify.views import masked


@method("MIC")
class MIC(SDAT):
    """Masked image consistency (Hoyer et al. 2023) with SDAT: masked target images keep their class.

    L. Hoyer, D. Dai, H. Wang, L. Van Gool, "MIC: Masked Image Consistency for Context-Enhanced Domain
    Adaptation", CVPR 2023.

    SDAT's ascent and loss, each with one more term::

        in the ascent: mean(confidence [n] * cross_entropy(logits of masked images [n, classes], pseudo [n]))
        in the loss:   trade_off * cross_entropy(the same)

    pseudo are the most probable classes of the whole images, by a teacher that is the moving average of the
    network, and confidence their probabilities; 1 without `weighted`. Masks are the same in both. The network
    is evaluated, not its teacher. The colour jitter and the blur of the authors' masked images are left out.

    Attributes:
        rho: See `SDAT`.
        temperature: See `SDAT`.
        trade_off: The weight of the adversarial term and of the masked one, at least 0.
        hidden: See `SDAT`.
        warm_up_steps: See `SDAT`.
        both_statistics: See `SDAT`.
        momentum: The momentum of the teacher, in [0, 1).
        ratio: The share of blocks that are masked, in [0, 1].
        block: The height and width of blocks, in pixels.
        weighted: Whether the ascent counts confident images more.
    """

    momentum: float = 0.9
    ratio: float = 0.7
    block: int = 64
    weighted: bool = True

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make the discriminator."""
        super().build(features, classes)
        self.require(0 <= self.momentum < 1, "momentum", "at least 0 and below 1")
        self.require(0 <= self.ratio <= 1, "ratio", "between 0 and 1")
        self.require(self.block > 0, "block", "above 0")

    def begin(self, network: Network, domains: int) -> None:
        """Make the teacher, which normalises by the batch as the authors' does."""
        self.teacher = EMA(network, self.momentum, batch_statistics=True)

    def after_step(self, network: Network) -> None:
        """Move the teacher."""
        self.teacher.update(network)

    def ascent(self, step: Step) -> dict[str, Tensor]:
        """Return the terms of SDAT's ascent, and `masked`."""
        assert step.target_images is not None
        confidence, self._pseudo = self.teacher(step.target_images).logits.softmax(dim=1).max(dim=1)
        self._masked = masked(step.target_images, self.ratio, self.block)
        each = self._masked_loss("none")
        return super().ascent(step) | {"masked": (confidence * each if self.weighted else each).mean()}

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms of SDAT's loss, and `masked`, with the masks and the classes of the ascent."""
        return super().losses(step) | {"masked": self.trade_off * self._masked_loss("mean")}

    def _masked_loss(self, reduction: str) -> Tensor:
        """The cross-entropy of masked images, which move BatchNorm's statistics as the others do."""
        logits = self.forward(self._masked, update_statistics=True).logits
        return cross_entropy(logits, self._pseudo, reduction=reduction)
