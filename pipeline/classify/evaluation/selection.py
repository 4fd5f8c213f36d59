"""What a training achieved, and which of its moments counts: here the target's labels are read.

At every evaluation the loop keeps the network's probabilities for the target's test images. They meet the
labels here, when training is over: no selection, the oracle included, can change a training.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from pipeline.classify.network import Network
from pipeline.classify.training.batches import Pool
from pipeline.data.image_sets import load_labelled

BATCH = 250


@dataclass(frozen=True)
class Evaluation:
    """A network after `step` steps.

    source_accuracy: percent, on the held-out images of the source, or its mean over those of several sources.
    probabilities: float32 [n, classes], those that it gives to the target's test images; rows sum to 1.
    """

    step: int
    source_accuracy: float
    probabilities: Tensor

    @property
    def predictions(self) -> np.ndarray:
        """The most probable classes, int64 [n]."""
        return np.asarray(self.probabilities).argmax(axis=1)


@dataclass(frozen=True)
class Score:
    """Percent of images classified rightly: of all, and of each class (None for a class without images)."""

    accuracy: float
    per_class: list[float | None]


def over(network: Network, pool: Pool, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """What `compute`, a part of `network`, makes of all images of `pool`: [n, ...], in the CPU's memory.

    Leaves `network` in training mode.
    """
    network.eval()
    with torch.inference_mode():
        parts = [compute(images.to(network.device)) for images in pool.batches(BATCH)]
    network.train()
    return torch.cat(parts).cpu().clone()


def predict(network: Network, pool: Pool) -> Tensor:
    """The probabilities of classes for the images of `pool`: float32 [n, classes]; see `over`."""
    return over(network, pool, lambda images: network(images)[1].float().softmax(dim=1))


def held_out_scores(network: Network, held_out: Sequence[Pool]) -> tuple[float, float]:
    """Percent classified rightly and mean cross-entropy of each labelled pool, both as means over the pools."""
    accuracies, losses = [], []
    for pool in held_out:
        probabilities = predict(network, pool)
        accuracies.append(score(probabilities.argmax(dim=1), pool.labels, probabilities.shape[1]).accuracy)
        least = torch.finfo(probabilities.dtype).tiny
        losses.append(nll_loss(probabilities.clamp_min(least).log(), pool.labels).item())
    return sum(accuracies) / len(accuracies), sum(losses) / len(losses)


def score(predictions: np.ndarray | Tensor, labels: np.ndarray | Tensor, classes: int) -> Score:
    """How far int64 [n] `predictions` agree with int64 [n] `labels`."""
    right = np.asarray(predictions) == np.asarray(labels)
    each = [right[np.asarray(labels) == label] for label in range(classes)]
    shares = [100 * float(part.mean()) if len(part) else None for part in each]
    return Score(100 * float(right.mean()), shares)


def select(selection: str, evaluations: Sequence[Evaluation], target_labels: np.ndarray) -> Evaluation:
    """The evaluation that `selection` takes of a training's; of equally good ones the latest.

    last: the end. source: the best on the source's held-out images. unsupervised: the densest on the target's test
    images, which it sees without their labels. oracle: the best on the target's labels, which nobody who has none
    could know.
    """
    if selection == "last":
        return evaluations[-1]
    if selection == "source":
        return max(reversed(evaluations), key=lambda one: one.source_accuracy)
    if selection == "unsupervised":
        return max(reversed(evaluations), key=lambda one: neighbourhood_density(one.probabilities))
    return max(reversed(evaluations), key=lambda one: np.mean(one.predictions == target_labels))


def neighbourhood_density(probabilities: np.ndarray | Tensor) -> float:
    """Soft neighbourhood density of float [n, classes] (Saito et al. 2021), by scikit-adaptation: higher is better.

    The entropy of the similarities between the target's images: high where each has many like itself, so that the
    classifier has cut no cluster in two. A classifier that says one class of everything gets the most of all:
    like every such rule it is blind to that.
    """
    from skada.metrics import SoftNeighborhoodDensity

    points = np.asarray(probabilities, dtype=np.float64)
    target = np.full(len(points), -1)  # how scikit-adaptation marks samples of a target
    return float(SoftNeighborhoodDensity()(_AsGiven(), points, target, sample_domain=target))


class _AsGiven:
    """An estimator for scikit-adaptation's scorers, whose samples are their own probabilities."""

    def predict_proba(self, samples: np.ndarray, sample_domain: np.ndarray) -> np.ndarray:
        return samples


def target_predictions(
    data: Path, target: str, selections: Sequence[str], evaluations: Sequence[Evaluation]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Of the target's test images the labels int64 [n], and what the network that each selection takes says of them."""
    labels = load_labelled(data, target, "test").labels
    return labels, {selection: select(selection, evaluations, labels).predictions for selection in selections}


def predictions_file(labels: np.ndarray, predictions: dict[str, np.ndarray]) -> bytes:
    """predictions.npz: `labels`, and for each selection S `S.predicted`, int16 [n] all."""
    arrays = {"labels": labels} | {f"{name}.predicted": said for name, said in predictions.items()}
    file = io.BytesIO()
    np.savez_compressed(file, **{name: array.astype(np.int16) for name, array in arrays.items()})
    return file.getvalue()
