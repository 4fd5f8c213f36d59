"""Deep adaptation: features of both domains with the same mean in a kernel's space."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step
from pipeline.classify.methods.tllib import find_loss, find_module
from pipeline.classify.registry import method

BANDWIDTHS = [2.0**power for power in range(-3, 2)]
"""Of the Gaussian kernels that are summed, each times the mean squared distance in the batch."""


@method("DAN")
class DAN(Method):
    """Deep adaptation network (Long et al. 2015): a small maximum mean discrepancy of the features.

    loss = cross_entropy(labelled logits [b, classes], labels [b])
         + trade_off * MMD^2(labelled features [b, d], target features [b, d]),
    with a sum of five Gaussian kernels, sigma^2 being 1/8 to 2 times the batch's mean squared distance, and
    the library's estimate: over all pairs, or over b of them, as in the paper, if `linear`.
    Defaults: trade_off 1, linear false. Needs b of at least 2.
    """

    trade_off: float = 1.0
    linear: bool = False

    uses_library = True

    def build(self, features: int, classes: int) -> None:
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        gaussian = find_module("kernels", "GaussianKernel")
        discrepancy = find_loss("dan", "MultipleKernelMaximumMeanDiscrepancy")
        self.discrepancy = discrepancy([gaussian(alpha=alpha) for alpha in BANDWIDTHS], linear=self.linear)

    def losses(self, step: Step) -> dict[str, Tensor]:
        self.require_pairs(step)
        discrepancy = self.discrepancy(step.labelled.features, step.target.features)
        return {
            "task": cross_entropy(step.labelled.logits, step.labels),
            "discrepancy": self.trade_off * discrepancy,
        }
