"""What a training achieved, and which of its moments counts: here the target's labels are read.

At every evaluation the loop keeps the network's predictions for the target's test images. They meet the
labels here, when training is over: no selection, the oracle included, can change a training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.classify.batches import Pool
from pipeline.data.domains import load_labelled

BATCH = 250


@dataclass(frozen=True)
class Evaluation:
    """A network after `step` steps.

    source_accuracy: percent, on the source's test split.
    predictions: int64 [n], the classes that it gives to the target's test images.
    """

    step: int
    source_accuracy: float
    predictions: Tensor


@dataclass(frozen=True)
class Score:
    """Percent of images classified rightly: of all, and of each class (None for a class without images)."""

    accuracy: float
    per_class: list[float | None]


def predict(network: nn.Module, pool: Pool) -> Tensor:
    """The classes that `network` gives to the images of `pool`: int64 [n]. Leaves it in training mode."""
    network.eval()
    with torch.inference_mode():
        classes = torch.cat([network(images)[1].argmax(dim=1) for images in pool.images().split(BATCH)])
    network.train()
    return classes.clone()


def score(predictions: np.ndarray | Tensor, labels: np.ndarray | Tensor, classes: int) -> Score:
    """How far int64 [n] `predictions` agree with int64 [n] `labels`."""
    right = np.asarray(predictions) == np.asarray(labels)
    each = [right[np.asarray(labels) == label] for label in range(classes)]
    shares = [100 * float(part.mean()) if len(part) else None for part in each]
    return Score(100 * float(right.mean()), shares)


def select(selection: str, evaluations: Sequence[Evaluation], target_labels: np.ndarray) -> Evaluation:
    """The evaluation that `selection` takes of a training's; of equally good ones the latest.

    last: the end. source: the best on the source's test split. oracle: the best on the target's, which nobody
    who has no target labels could know.
    """
    if selection == "last":
        return evaluations[-1]
    if selection == "source":
        return max(reversed(evaluations), key=lambda one: one.source_accuracy)
    return max(reversed(evaluations), key=lambda one: np.mean(np.asarray(one.predictions) == target_labels))


def target_scores(data: Path, target: str, classes: int, selections: Sequence[str],
                  evaluations: Sequence[Evaluation]) -> dict[str, Score]:  # fmt: skip
    """The score on the target's test split of what each selection takes."""
    labels = load_labelled(data, target, "test").labels
    chosen = {selection: select(selection, evaluations, labels) for selection in selections}
    return {selection: score(one.predictions, labels, classes) for selection, one in chosen.items()}
