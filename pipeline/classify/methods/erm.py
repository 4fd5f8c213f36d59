"""Empirical risk minimisation: the classifier without adaptation."""

from torch import Tensor

from pipeline.classify.method import Method, Step, task_loss
from pipeline.classify.registry import method


@method("ERM")
class ERM(Method):
    """Empirical risk minimisation (Vapnik 1998): cross-entropy of the labelled images; ignores the target.

    V. N. Vapnik, "Statistical Learning Theory", Wiley, 1998.

    The loss is the mean over the batch of -log softmax(logits)[label], for logits [b, classes] and labels
    [b]. Made images count with their weight, if they have one. There are no hyper-parameters.
    """

    uses_target = False

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Return the term `task`."""
        return {"task": task_loss(step)}
