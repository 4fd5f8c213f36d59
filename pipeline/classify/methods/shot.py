"""Source hypothesis transfer: the target's features are made to fit the classifier of the source."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

from pipeline.classify.method import Look, Step
from pipeline.classify.methods.source_free import EPSILON, SourceFree, imbalance
from pipeline.classify.registry import method


@method("SHOT")
class SHOT(SourceFree):
    """Source hypothesis transfer (Liang et al. 2020): source-free, by certain and balanced predictions.

    J. Liang, D. Hu, J. Feng, "Do We Really Need to Access the Source Data? Source Hypothesis Transfer for
    Unsupervised Domain Adaptation", ICML 2020; SHOT-IM with pseudo-labels.

    The first phase trains on the source, with smoothed labels. The second trains on the target alone, with
    the head frozen, by the loss::

        mean entropy of p [n, classes] - entropy of the mean of p
        + pseudo * cross_entropy(target logits [n, classes], pseudo-labels [n])

    p = softmax(target logits). Pseudo-labels are found anew `refreshes` times, by `centroid_labels`. The
    authors leave them out of the first stretch on VisDA; that is not done here.

    Attributes:
        source_share: See `SourceFree`.
        pseudo: The weight of pseudo-labels, at least 0.
        refreshes: How often pseudo-labels are found, at least 1.
    """

    source_share: float = 0.5
    pseudo: float = 0.3
    refreshes: int = 15

    def build(self, features: int, classes: int) -> None:
        """Check the hyper-parameters."""
        super().build(features, classes)
        self.require(self.pseudo >= 0, "pseudo", "at least 0")
        self.require(self.refreshes >= 1, "refreshes", "at least 1")
        self.looks = self.refreshes
        self.pseudo_labels: Tensor
        self.register_buffer("pseudo_labels", torch.zeros(0, dtype=torch.int64))

    def frozen(self) -> tuple[str, ...]:
        """Return the group of the head."""
        return ("head",)

    def look(self, look: Look) -> None:
        """Find the pseudo-labels of all target images."""
        target = look.target()
        self.pseudo_labels = centroid_labels(target.features, target.logits.softmax(dim=1))

    def target_losses(self, step: Step) -> dict[str, Tensor]:
        """Return the terms `entropy`, `imbalance` and `pseudo`."""
        _, target = step.halves
        probabilities = target.logits.softmax(dim=1)
        entropy = -(probabilities * (probabilities + EPSILON).log()).sum(dim=1).mean()
        said = cross_entropy(target.logits, self.pseudo_labels[step.target_indices])
        return {"entropy": entropy, "imbalance": imbalance(probabilities), "pseudo": self.pseudo * said}


def centroid_labels(features: Tensor, probabilities: Tensor) -> Tensor:
    """Return the class whose centroid is nearest to each image, by the cosine: int64 [N].

    Centroids are means of features, first weighted by the probabilities, and then of the images that the
    first round gave to a class. A class without an image is given none. As in the authors' code, every
    feature vector gets one more entry of 1 and is then scaled to length 1.

    Args:
        features: [N, d].
        probabilities: [N, classes].
    """
    points = normalize(torch.cat([features, torch.ones_like(features[:, :1])], dim=1), dim=1)
    classes, weights, labels = probabilities.shape[1], probabilities, probabilities.argmax(dim=1)
    for _ in range(2):
        centroids = normalize(weights.T @ points, dim=1)
        has_images = labels.bincount(minlength=classes) > 0
        nearness = (points @ centroids.T).masked_fill(~has_images, -torch.inf)
        labels = nearness.argmax(dim=1)
        weights = one_hot(labels, classes).to(points.dtype)
    return labels
