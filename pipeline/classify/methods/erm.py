"""Empirical risk minimisation: the classifier without adaptation."""

from torch import Tensor

from pipeline.classify.method import Method, Step, task_loss
from pipeline.classify.registry import method


@method("ERM")
class ERM(Method):
    """Empirical risk minimisation (Vapnik 1998): cross-entropy of the labelled images; ignores the target.

    loss = mean over the batch of -log softmax(logits)[label], with logits [b, classes] and labels [b]; made
    images count with their weight, if they have one.
    No hyper-parameters.
    """

    uses_target = False

    def losses(self, step: Step) -> dict[str, Tensor]:
        return {"task": task_loss(step)}
