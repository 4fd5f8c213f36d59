"""Joint adaptation: features and predictions together have the same mean in a kernel's space."""

from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from pipeline.classify.method import Method, Step
from pipeline.classify.methods.dan import BANDWIDTHS
from pipeline.classify.methods.tllib import find_loss, find_module
from pipeline.classify.registry import method

PREDICTIONS_SIGMA = 0.92
"""Of the kernel on predictions: fixed, for their distances are bounded."""


@method("JAN")
class JAN(Method):
    """Joint adaptation network (Long et al. 2017): a small joint discrepancy of features and predictions.

    loss = cross_entropy(labelled logits [b, classes], labels [b])
         + trade_off * JMMD^2((features [b, d], softmax(logits) [b, classes]) of labelled and of target),
    with the product of two kernels: DAN's on features, and one Gaussian with sigma 0.92 on predictions. The
    library's estimate is over all pairs, or over b of them if `linear`; the paper's adversarial variant is
    left out. Defaults: trade_off 1, linear false. Needs b of at least 2.
    """

    trade_off: float = 1.0
    linear: bool = False

    uses_library = True

    def build(self, features: int, classes: int) -> None:
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        gaussian = find_module("kernels", "GaussianKernel")
        of_features = [gaussian(alpha=alpha) for alpha in BANDWIDTHS]
        of_predictions = [gaussian(sigma=PREDICTIONS_SIGMA, track_running_stats=False)]
        discrepancy = find_loss("jan", "JointMultipleKernelMaximumMeanDiscrepancy")
        self.discrepancy = discrepancy((of_features, of_predictions), linear=self.linear)

    def losses(self, step: Step) -> dict[str, Tensor]:
        self.require_pairs(step)
        labelled, target = (
            (half.features, softmax(half.logits, dim=1)) for half in (step.labelled, step.target)
        )
        return {
            "task": cross_entropy(step.labelled.logits, step.labels),
            "discrepancy": self.trade_off * self.discrepancy(labelled, target),
        }
