"""Minimum class confusion: fewer pairs of classes that the classifier confuses on the target."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from pipeline.classify.method import Method, Step
from pipeline.classify.registry import method


@method("MCC")
class MCC(Method):
    """Minimum class confusion (Jin et al. 2020): cross-entropy, and the confusion of classes on the target.

    Y. Jin, X. Wang, M. Long, J. Wang, "Minimum Class Confusion for Versatile Domain Adaptation", ECCV 2020;
    equations 2 to 7.

    The loss::

        cross_entropy(labelled logits [b, classes], labels [b])
        + trade_off * class_confusion(target logits [b, classes], temperature)

    Attributes:
        temperature: The temperature of predictions, above 0. The paper takes 2.5, and 3 for VisDA.
        trade_off: The weight of the confusion.
    """

    temperature: float = 2.5
    trade_off: float = 1.0

    def build(self, features: int, classes: int) -> None:
        """Check the temperature."""
        self.require(self.temperature > 0, "temperature", "above 0")

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `task` and `confusion`."""
        labelled, target = step.halves
        return {
            "task": cross_entropy(labelled.logits, step.labels),
            "confusion": self.trade_off * class_confusion(target.logits, self.temperature),
        }


def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """Return the mean share of each class's predictions that other classes claim too: a scalar in [0, 1].

    Equations 2 to 7 of the paper. P = softmax(logits / temperature). Image i has the weight W_i, proportional
    to 1 + exp(-entropy_i) and 1 on average, through which no gradient flows. C = P' diag(W) P, with rows
    divided by their sums. The loss is the sum of C off its diagonal, divided by the number of classes.

    Args:
        logits: [n, classes].
        temperature: Above 0.
    """
    images, classes = logits.shape
    log_probabilities = log_softmax(logits / temperature, dim=1)
    probabilities = log_probabilities.exp()
    with torch.no_grad():
        certainty = 1 + (probabilities * log_probabilities).sum(dim=1).exp()
        weights = images * certainty / certainty.sum()
    confusion = probabilities.T @ (weights[:, None] * probabilities)
    # A class whose probability vanished on every image has a row of zeros, which confuses nothing.
    confusion = confusion / confusion.sum(dim=1, keepdim=True).clamp_min(torch.finfo(confusion.dtype).tiny)
    return (confusion.sum() - confusion.trace()) / classes
