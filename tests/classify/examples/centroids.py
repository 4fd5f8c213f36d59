"""Class centroids of both domains that are pulled together (Xie, Zheng, Chen and Chen, ICML 2018)."""

import torch
from torch import Tensor

from pipeline.classify.method import Method, Step, task_loss
from pipeline.classify.registry import method


@method("Centroids")
class Centroids(Method):
    """Align the running class centroids of source and pseudo-labelled target."""

    decay: float = 0.7
    weight: float = 0.1

    def build(self, features: int, classes: int) -> None:
        self.register_buffer("source", torch.zeros(classes, features))
        self.register_buffer("target", torch.zeros(classes, features))

    def losses(self, step: Step) -> dict[str, Tensor]:
        labelled, target = step.halves
        source = self.moved(self.source, labelled.features, step.labels)
        other = self.moved(self.target, target.features, target.logits.argmax(dim=1))
        self.source.copy_(source.detach())
        self.target.copy_(other.detach())
        return {"task": task_loss(step), "centroids": self.weight * (source - other).square().mean()}

    def moved(self, old: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        sums = torch.zeros_like(old).index_add(0, labels, features)
        count = labels.bincount(minlength=len(old))[:, None]
        return torch.where(count > 0, old.lerp(sums / count.clamp_min(1), 1 - self.decay), old)
