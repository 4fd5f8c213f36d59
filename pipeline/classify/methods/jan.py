"""Joint adaptation: features and predictions together have equal means in a kernel's space."""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from pipeline.classify.method import Method, Step
from pipeline.classify.methods import tllib
from pipeline.classify.methods.dan import BANDWIDTHS
from pipeline.classify.registry import method

PREDICTIONS_SIGMA = 0.92
"""The sigma of the kernel on predictions. It can be fixed, because distances of probabilities are bounded."""


@method("JAN")
class JAN(Method):
    """Joint adaptation network (Long et al. 2017): a small joint discrepancy of features and predictions.

    M. Long, H. Zhu, J. Wang, M. I. Jordan, "Deep Transfer Learning with Joint Adaptation Networks", ICML
    2017. The paper's adversarial variant, JAN-A, is left out.

    The loss::

        cross_entropy(labelled logits [b, classes], labels [b])
        + trade_off * JMMD^2((features [b, d], softmax(logits) [b, classes]) of labelled, of target images)

    The kernel is a product of two: DAN's on features, and a Gaussian with sigma 0.92 on predictions. The
    estimate of JMMD^2 is the transfer-learning library's, and so is the bottleneck: Linear, BatchNorm, ReLU
    and Dropout 0.5. Needs b of at least 2.

    Attributes:
        trade_off: The weight of the discrepancy, at least 0.
        linear: Whether the estimate is over b pairs of images, or over all pairs.
    """

    trade_off: float = 1.0
    linear: bool = False

    uses_library = True
    version = 2

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters, and make the discrepancy."""
        self.require(self.trade_off >= 0, "trade_off", "at least 0")
        of_features = [tllib.relative_kernel(alpha) for alpha in BANDWIDTHS]
        of_predictions = [tllib.fixed_kernel(PREDICTIONS_SIGMA)]
        self.discrepancy = tllib.joint_mean_discrepancy((of_features, of_predictions), self.linear)

    def make_bottleneck(self, width: int, features: int) -> nn.Module:
        """Return the library's bottleneck."""
        return nn.Sequential(nn.Linear(width, features), nn.BatchNorm1d(features), nn.ReLU(), nn.Dropout(0.5))

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `discrepancy`; UserError for a batch of one."""
        self.require_pairs(step)
        labelled, target = ((half.features, softmax(half.logits, dim=1)) for half in step.halves)
        return {
            "task": cross_entropy(step.labelled.logits, step.labels),
            "discrepancy": self.trade_off * self.discrepancy(labelled, target),
        }
