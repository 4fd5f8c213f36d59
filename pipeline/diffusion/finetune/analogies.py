"""Embedded images of a domain, and the analogies a : a' :: b : b' that are drawn from them.

a and b are images of the source, a' and b' of the target. The target's labels are never read: where the
pairing wants its classes, they are guessed (`Pairing` in pipeline/config/analogies.py).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config import AnalogySpec
from pipeline.data.image_sets import ImageSet
from pipeline.diffusion.adapters.lorweb import ImageEncoder, analogy


def pseudo_labels(source: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """Guess the class of each target image: that of the nearest class mean of the source, by cosine.

    Embeddings are first centred on the mean of their own domain, which removes much of the difference between
    domains.

    Args:
        source: Embeddings [n, width].
        labels: Their classes, int64 [n].
        target: Embeddings [m, width].

    Returns:
        Classes, int64 [m].
    """
    source, target = source - source.mean(0), target - target.mean(0)
    classes = labels.unique()
    means = torch.stack([source[labels == label].mean(0) for label in classes])
    cosine = F.normalize(target, dim=1) @ F.normalize(means, dim=1).T
    return classes[cosine.argmax(1)]


class EmbeddedImages:
    """The embeddings of a domain's images, with known or guessed classes, or without classes.

    Attributes:
        embedded: [N, width].
        labels: Classes, int64 [N], or None.
    """

    def __init__(self, embedded: Tensor, labels: Tensor | None) -> None:
        self.embedded, self.labels = embedded, labels
        if labels is not None:
            self.order = labels.argsort(stable=True)
            self.counts = labels.bincount(minlength=int(labels.max()) + 1)
            self.starts = self.counts.cumsum(0) - self.counts

    def draw(self, labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` images for each class of `labels` [n].

        Images are drawn from the whole domain if its classes are unknown, or if it has no image of the class.

        Returns:
            Indices [n, count].
        """
        share = torch.rand(len(labels), count, generator=generator, dtype=torch.float64)
        from_all = (share * len(self.embedded)).long()
        if self.labels is None:
            return from_all
        known = labels.clamp(max=len(self.counts) - 1)
        available = torch.where(labels < len(self.counts), self.counts[known], 0)[:, None]
        place = self.starts[known][:, None] + (share * available).long()
        return torch.where(available > 0, self.order[place.clamp(max=len(self.order) - 1)], from_all)


def embed_source(spec: AnalogySpec, encoder: ImageEncoder, source: ImageSet) -> EmbeddedImages:
    """Embed the source, with its classes if the pairing needs them."""
    labels = torch.from_numpy(source.labels) if spec.pairing == "pseudo" else None
    return EmbeddedImages(encoder.embed(source.images), labels)


def embed_target(
    spec: AnalogySpec, encoder: ImageEncoder, target: ImageSet, source: EmbeddedImages
) -> EmbeddedImages:
    """Embed the unlabelled target, with guessed classes if the pairing needs classes."""
    embedded = encoder.embed(target.images)
    guessed = None
    if spec.pairing == "pseudo":
        assert source.labels is not None
        guessed = pseudo_labels(source.embedded, source.labels, embedded)
    return EmbeddedImages(embedded, guessed)


def embed_analogies(
    source: EmbeddedImages, a: Tensor, target: EmbeddedImages, a_prime: Tensor, b: Tensor
) -> Tensor:
    """Return the embeddings [n, 3 width] of analogies a : a' :: b : ?, each averaged over its k examples.

    Args:
        source: The domain of a and b.
        a: Indices [n, k].
        target: The domain of a'.
        a_prime: Indices [n, k].
        b: Indices [n].
    """
    return analogy(source.embedded[a], target.embedded[a_prime], source.embedded[b][:, None]).mean(1)
