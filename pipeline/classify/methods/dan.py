"""Deep adaptation: features of both domains with equal means in a kernel's space."""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.methods import tllib
from pipeline.classify.registry import method

BANDWIDTHS = [2.0**power for power in range(-3, 2)]
"""The sigma^2 of the Gaussian kernels that are summed, as multiples of the batch's mean squared distance."""


@method("DAN")
class DAN(Method):
    """Deep adaptation network (Long et al. 2015): a small maximum mean discrepancy of the features.

    M. Long, Y. Cao, J. Wang, M. I. Jordan, "Learning Transferable Features with Deep Adaptation Networks",
    ICML 2015.

    The loss::

        cross_entropy(labelled logits [b, classes], labels [b])
        + trade_off * MMD^2(labelled features [b, d], target features [b, d])

    The kernel is a sum of five Gaussians, with sigma^2 from 1/8 to 2 times the mean squared distance in the
    batch. The estimate of MMD^2 is the transfer-learning library's, and so is the bottleneck: Linear, ReLU
    and Dropout 0.5, without BatchNorm. Needs b of at least 2.

    Attributes:
        trade_off: The weight of the discrepancy, at least 0.
        linear: Whether the estimate is the paper's, over b pairs of images, or over all pairs.
    """

    trade_off: float = 1.0
    linear: bool = True

    uses_library = True
    separate_passes = True
    version = 2

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make the discrepancy."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        kernels = [tllib.relative_kernel(alpha) for alpha in BANDWIDTHS]
        self.discrepancy = tllib.mean_discrepancy(kernels, self.linear)

    def make_bottleneck(self, width: int, features: int) -> nn.Module:
        """Return the library's bottleneck."""
        return nn.Sequential(nn.Linear(width, features), nn.ReLU(), nn.Dropout(0.5))

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `discrepancy`; UserError for a batch of one."""
        labelled, target = step.halves
        self.require_pairs(step)
        discrepancy = self.discrepancy(labelled.features, target.features)
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "discrepancy": self.trade_off * discrepancy,
        }
