"""FixMatch for domain adaptation: confident predictions of weak views label strong views of the target."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step, View
from pipeline.classify.registry import method


@method("FixMatch")
class FixMatch(Method):
    """FixMatch (Sohn et al. 2020) on the target: confident weak views label strong views.

    K. Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", NeurIPS
    2020, as the transfer-learning library runs it for domain adaptation.

    The loss::

        cross_entropy(labelled logits [b, classes], labels [b])
        + trade_off * mean(sure [n] * cross_entropy(logits of the strong views [n, classes], pseudo [n]))

    pseudo are the most probable classes of the weak views, and sure is 1 where their probability exceeds the
    threshold, else 0. Labelled images, weak views and strong views pass through the network one after the
    other, and each pass moves BatchNorm's statistics.

    Attributes:
        threshold: The confidence from which a prediction counts, in [0, 1].
        trade_off: The weight of the consistency, at least 0.
    """

    threshold: float = 0.9
    trade_off: float = 1.0

    separate_passes = True

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters."""
        self.require(0 <= self.threshold <= 1, "threshold", "between 0 and 1")
        self.require(self.trade_off >= 0, "trade_off", "at least 0")

    def views(self) -> list[View]:
        """Return the strong view of target images."""
        return [View("strong")]

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `consistency`."""
        labelled, target = step.halves
        confidence, pseudo = target.logits.detach().softmax(dim=1).max(dim=1)
        strong = self.forward(step.views["strong"], update_statistics=True)
        each = cross_entropy(strong.logits, pseudo, reduction="none")
        consistency = ((confidence > self.threshold) * each).mean()
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "consistency": self.trade_off * consistency,
        }
