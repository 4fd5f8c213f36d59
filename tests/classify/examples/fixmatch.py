"""FixMatch on the target (K. Sohn et al., NeurIPS 2020): confident weak views label strong ones."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.classify.method import Method, Step, View, task_loss
from pipeline.classify.registry import method


@method("MyFixMatch")
class FixMatch(Method):
    """Pseudo-labels of the weak view of each target image supervise a strong view."""

    threshold: float = 0.9
    weight: float = 1.0

    def views(self) -> list[View]:
        return [View("strong")]

    def losses(self, step: Step) -> dict[str, Tensor]:
        _, target = step.halves
        confidence, pseudo = target.logits.detach().softmax(dim=1).max(dim=1)
        strong = self.forward(step.views["strong"]).logits
        each = cross_entropy(strong, pseudo, reduction="none")
        sure = (confidence >= self.threshold).float()
        return {"task": task_loss(step), "consistency": self.weight * (sure * each).mean()}
