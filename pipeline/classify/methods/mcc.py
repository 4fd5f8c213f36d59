"""Minimum class confusion: fewer pairs of classes that the classifier confuses on the target."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from pipeline.classify.method import Method, Step
from pipeline.classify.registry import method
from pipeline.core.errors import UserError


@method("MCC")
class MCC(Method):
    """Minimum class confusion (Jin et al. 2020): cross-entropy, and the confusion of classes on the target.

    loss = cross_entropy(labelled logits [b, classes], labels [b])
         + trade_off * class_confusion(target logits [b, classes], temperature).
    Defaults: temperature 2.5 (above 0; the paper takes 3 for VisDA), trade_off 1.
    """

    temperature: float = 2.5
    trade_off: float = 1.0

    def build(self, features: int, classes: int) -> None:
        if self.temperature <= 0:
            raise UserError(f"method MCC: temperature must be above 0, not {self.temperature}")

    def losses(self, step: Step) -> dict[str, Tensor]:
        return {
            "task": cross_entropy(step.labelled.logits, step.labels),
            "confusion": self.trade_off * class_confusion(step.target.logits, self.temperature),
        }


def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """The mean share of each class's predictions that other classes claim too: a scalar in [0, 1].

    logits [n, classes]. P = softmax(logits / temperature); an image weighs W_i, proportional to
    1 + exp(-entropy_i) and 1 on average, through which no gradient flows; C = P' diag(W) P with rows divided
    by their sums; the loss is the sum of C off its diagonal, over the number of classes (equations 2 to 7).
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
