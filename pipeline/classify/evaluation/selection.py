"""Evaluations of a training, and checkpoint selection among them. Only here are the target's labels read.

At every evaluation the loop keeps the network's probabilities for the target's test images. They are compared
with the labels here, when training is over, so that no selection rule, the oracle included, can change a
training.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from pipeline import __version__
from pipeline.classify.network import Network
from pipeline.classify.training.batches import Pool
from pipeline.data.image_sets import load_labelled

BATCH = 250
"""The number of images in a forward pass."""


@dataclass(frozen=True)
class EvaluationSets:
    """The images that are evaluated: after `first` steps, then after every `every` steps, and at the end.

    Attributes:
        held_out: For each source domain its labelled images that are not trained on: under uda its test
            split. Where made images are held out too, theirs are one more domain.
        target: The target's images, unlabelled: its test split, or in DomainBed's protocol all of them.
        every: The number of steps between two evaluations.
        first: The number of steps before the first.
    """

    held_out: Sequence[Pool]
    target: Pool
    every: int
    first: int

    def due(self, done: int) -> bool:
        """Return whether an evaluation follows the first `done` steps."""
        return done >= self.first and (done - self.first) % self.every == 0


@dataclass(frozen=True)
class TargetLabels:
    """The labels of the target's images that were evaluated, and which of the images count for what.

    Attributes:
        labels: int64 [N].
        scored: The places of the images whose share of correct ones is the accuracy: int64 [n].
        oracle: The places of the images by which the rule `oracle` chooses.
    """

    labels: np.ndarray
    scored: np.ndarray
    oracle: np.ndarray

    @classmethod
    def of_all(cls, labels: np.ndarray) -> Self:
        """Return the labels int64 [N] of images that all count for both."""
        everywhere = np.arange(len(labels))
        return cls(labels, everywhere, everywhere)

    @classmethod
    def of_split(cls, data: Path, target: str) -> Self:
        """Return the labels of the test split in `data`, a prepare artifact; all images count for both."""
        labels = load_labelled(data, target, "test").labels
        assert labels is not None
        return cls.of_all(labels)


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a network after `step` steps.

    Attributes:
        step: The number of steps.
        source_accuracy: Percent on the held-out source images, as the mean over source domains.
        probabilities: float32 [n, classes], the probabilities of the target's test images; rows sum to 1.
    """

    step: int
    source_accuracy: float
    probabilities: Tensor

    @property
    def predictions(self) -> np.ndarray:
        """The most probable classes: int64 [n]."""
        return np.asarray(self.probabilities).argmax(axis=1)


@dataclass(frozen=True)
class Score:
    """Percent of images that are classified correctly.

    Attributes:
        accuracy: Of all images.
        per_class: Of the images of each class; None for a class without images.
    """

    accuracy: float
    per_class: list[float | None]


def compute_over(network: Network, pool: Pool, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute something of all images, with the network in evaluation mode, and leave it in training mode.

    Args:
        network: The network.
        pool: The images.
        compute: A part of the network: images [size, 3, H, W] to [size, ...].

    Returns:
        [n, ...], in the CPU's memory.
    """
    network.eval()
    with torch.inference_mode():
        parts = [compute(images.to(network.device)) for images in pool.batches(BATCH)]
    network.train()
    return torch.cat(parts).cpu().clone()


def predict(network: Network, pool: Pool) -> Tensor:
    """Return the probabilities of classes: float32 [n, classes]."""
    return compute_over(network, pool, lambda images: network(images)[1].float().softmax(dim=1))


def held_out_scores(network: Network, held_out: Sequence[Pool]) -> tuple[float, float]:
    """Return percent of correct images and mean cross-entropy, both as means over the labelled pools."""
    accuracies, losses = [], []
    for pool in held_out:
        assert pool.labels is not None
        probabilities = predict(network, pool)
        accuracies.append(score(probabilities.argmax(dim=1), pool.labels, probabilities.shape[1]).accuracy)
        least = torch.finfo(probabilities.dtype).tiny
        losses.append(nll_loss(probabilities.clamp_min(least).log(), pool.labels).item())
    return sum(accuracies) / len(accuracies), sum(losses) / len(losses)


def score(predictions: np.ndarray | Tensor, labels: np.ndarray | Tensor, classes: int) -> Score:
    """Compare predictions int64 [n] with labels int64 [n]."""
    correct = np.asarray(predictions) == np.asarray(labels)
    of_classes = [correct[np.asarray(labels) == label] for label in range(classes)]
    per_class = [100 * float(part.mean()) if len(part) else None for part in of_classes]
    return Score(100 * float(correct.mean()), per_class)


def select(selection: str, evaluations: Sequence[Evaluation], target: TargetLabels) -> Evaluation:
    """Return the evaluation that a selection rule chooses; the latest of equally good ones.

    Args:
        selection: `last`, the last iterate; `source`, the highest accuracy on held-out source images;
            `unsupervised`, the highest neighbourhood density of the target's test images, without their
            labels; `oracle`, the highest accuracy on the target's labels: an upper limit, never a result.
        evaluations: The evaluations of a training, in order.
        target: The labels of the target's images.
    """
    if selection == "last":
        return evaluations[-1]
    if selection == "source":
        return max(reversed(evaluations), key=lambda one: one.source_accuracy)
    if selection == "unsupervised":
        return max(
            reversed(evaluations), key=lambda one: neighbourhood_density(one.probabilities[target.scored])
        )
    labels = target.labels[target.oracle]
    return max(reversed(evaluations), key=lambda one: np.mean(one.predictions[target.oracle] == labels))


def neighbourhood_density(probabilities: np.ndarray | Tensor) -> float:
    """Return the soft neighbourhood density of probabilities [n, classes]; higher is better.

    K. Saito, D. Kim, P. Teterwak, S. Sclaroff, T. Darrell, K. Saenko, "Tune it the Right Way: Unsupervised
    Validation of Domain Adaptation via Soft Neighborhood Density", ICCV 2021. It is the entropy of the
    similarities between the target's images: high where each image has many like itself, so that the
    classifier cuts no cluster in two. Computed by scikit-adaptation. Like every rule without labels it has a
    blind spot: one class for all images gets the highest density.
    """
    from skada.metrics import SoftNeighborhoodDensity

    points = np.asarray(probabilities, dtype=np.float64)
    target = np.full(len(points), -1)  # scikit-adaptation's mark of target samples
    return float(SoftNeighborhoodDensity()(_Identity(), points, target, sample_domain=target))


class _Identity:
    """An estimator for scikit-adaptation's scorers, whose samples are probabilities already."""

    def predict_proba(self, samples: np.ndarray, sample_domain: np.ndarray) -> np.ndarray:
        return samples


def target_predictions(
    target: TargetLabels, selections: Sequence[str], evaluations: Sequence[Evaluation]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the labels of the target's scored images, and the predictions that each selection rule chooses.

    Returns:
        Labels int64 [n], and predictions int64 [n] by the name of the rule.
    """
    chosen = {selection: select(selection, evaluations, target) for selection in selections}
    return target.labels[target.scored], {
        selection: one.predictions[target.scored] for selection, one in chosen.items()
    }


def records_file(
    identity: dict[str, Any],
    labels: np.ndarray,
    predictions: dict[str, np.ndarray],
    classes: int,
    library: str,
) -> str:
    """Return records.json: one record for each selection rule.

    Args:
        identity: What tells the training from others in a table.
        labels: int64 [n].
        predictions: int64 [n] by the name of the rule.
        classes: The number of classes.
        library: The name or the version of the library that the method is from; empty if it is from none.
    """
    provenance = {"version": __version__, "library": library}
    records = [
        identity | {"selection": rule} | asdict(score(chosen, labels, classes)) | provenance
        for rule, chosen in predictions.items()
    ]
    return json.dumps(records, indent=1) + "\n"


def predictions_file(labels: np.ndarray, predictions: dict[str, np.ndarray]) -> bytes:
    """Return predictions.npz: `labels`, and `S.predicted` for each selection rule S, all int16 [n]."""
    arrays = {"labels": labels} | {f"{name}.predicted": classes for name, classes in predictions.items()}
    file = io.BytesIO()
    small = {name: array.astype(np.int16) for name, array in arrays.items()}
    np.savez_compressed(file, **small)  # type: ignore[arg-type]
    return file.getvalue()
