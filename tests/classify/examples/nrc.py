"""Neighbours in a memory bank of all target images (S. Yang et al., NeurIPS 2021)."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.classify.method import Look, Method, Phase, Step, task_loss
from pipeline.classify.registry import method


@method("MyNRC")
class Neighbours(Method):
    """The classes of an image's neighbours in feature space are its own."""

    neighbours: int = 3

    def build(self, features: int, classes: int) -> None:
        self.register_buffer("features", torch.zeros(0, features))
        self.register_buffer("scores", torch.zeros(0, classes))

    def phases(self) -> list[Phase]:
        return [Phase("source", 0.5, uses_target=False), Phase("target", 0.5, uses_labelled=False, looks=1)]

    def look(self, look: Look) -> None:
        target = look.target()
        self.features, self.scores = normalize(target.features, dim=1), target.logits.softmax(dim=1)

    def losses(self, step: Step) -> dict[str, Tensor]:
        if step.target is None:
            return {"task": task_loss(step)}
        features, scores = normalize(step.target.features, dim=1), step.target.logits.softmax(dim=1)
        self.features[step.target_indices], self.scores[step.target_indices] = (
            features.detach(),
            scores.detach(),
        )
        near = features.detach() @ self.features.T
        near.scatter_(1, step.target_indices[:, None], -1.0)  # an image is no neighbour of its own
        of_neighbours = self.scores[near.topk(self.neighbours, dim=1).indices]
        return {"neighbours": -(scores[:, None] * of_neighbours).sum(dim=2).mean()}
