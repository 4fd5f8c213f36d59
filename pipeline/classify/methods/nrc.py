"""Neighbourhood reciprocity clustering: an image of the target has the classes of its neighbours."""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, normalize

from pipeline.classify.method import Look, Step
from pipeline.classify.methods.source_free import SourceFree, imbalance
from pipeline.classify.registry import method

LATE = 5, 4
"""The neighbours, and the neighbours of each, in the second half of the phase on the target."""

FAR = 0.1
"""The weight of a neighbour that does not have the image among its own, and of neighbours' neighbours."""


@method("NRC")
class NRC(SourceFree):
    """Neighbourhood reciprocity clustering (Yang et al. 2021): source-free, by neighbours' predictions.

    S. Yang, Y. Wang, J. van de Weijer, L. Herranz, S. Jui, "Exploiting the Intrinsic Neighborhood Structure
    for Source-free Domain Adaptation", NeurIPS 2021.

    The first phase trains on the source, with smoothed labels. The second trains on the target alone. Banks
    hold the features and the probabilities of all target images; those of a step are renewed first. The
    loss, with p [n, classes] the probabilities of the step's images::

        mean over images of the sum over neighbours k of weight_k * sum(q_k log q_k - q_k p)
        + the same over neighbours of neighbours, each of weight 0.1
        - entropy of the mean of p

    q are probabilities in the bank. Neighbours are the `neighbours` nearest by the cosine of features, and
    the `expanded` nearest of each of them. A neighbour that has the image among its own weighs 1, others 0.1.

    Attributes:
        source_share: See `SourceFree`.
        neighbours: The number of neighbours in the first half of the second phase; 5 in the second half.
        expanded: The number of neighbours of each; 4 in the second half.
    """

    source_share: float = 0.5
    neighbours: int = 3
    expanded: int = 2

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters."""
        super().build(features, classes)
        self.require(self.neighbours >= 1, "neighbours", "at least 1")
        self.require(self.expanded >= 1, "expanded", "at least 1")
        self.features: Tensor
        self.scores: Tensor
        self.register_buffer("features", torch.zeros(0, features))
        self.register_buffer("scores", torch.zeros(0, classes))

    def look(self, look: Look) -> None:
        """Fill the banks."""
        target = look.target()
        self.features, self.scores = normalize(target.features, dim=1), target.logits.softmax(dim=1)

    def target_losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `neighbours`, `expanded` and `imbalance`."""
        _, target = step.halves
        scores = target.logits.softmax(dim=1)
        count, expanded = LATE if step.progress > 0.5 else (self.neighbours, self.expanded)
        with torch.no_grad():
            features, own = normalize(target.features, dim=1), step.target_indices
            self.features[own], self.scores[own] = features, scores.detach()
            near = self._nearest(features, count)
            farther = self._nearest(self.features[near], expanded)  # [n, neighbours, expanded]
            assert own is not None
            knows = (farther == own[:, None, None]).any(dim=2)
            weights = torch.where(knows, 1.0, FAR).to(scores.dtype)
        of_far = torch.full_like(farther.flatten(start_dim=1), FAR, dtype=scores.dtype)
        return {
            "neighbours": self._disagreement(scores, near, weights),
            "expanded": self._disagreement(scores, farther.flatten(start_dim=1), of_far),
            "imbalance": imbalance(scores),
        }

    def _nearest(self, features: Tensor, count: int) -> Tensor:
        """The images nearest to features [..., d], all but the nearest, which is the image itself."""
        kept = min(count + 1, len(self.features))
        return (features @ self.features.T).topk(kept, dim=-1).indices[..., 1:]

    def _disagreement(self, scores: Tensor, others: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum over others [n, k], as the authors' code computes it, on average over images."""
        each = kl_div(scores[:, None].expand(*others.shape, -1), self.scores[others], reduction="none")
        return (each.sum(dim=2) * weights).sum(dim=1).mean()
