"""The quality of made images, judged by a classifier that is trained on the target's labels for this."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.classify.evaluation.features import extract
from pipeline.classify.evaluation.selection import predict, score
from pipeline.classify.factory import make_method
from pipeline.classify.network import Network, build_network
from pipeline.classify.training.batches import LabelledBatches, check_labels, concatenate, make_pool
from pipeline.classify.training.loop import Loop
from pipeline.config import TrainSettings
from pipeline.core.checkpoint import CHECKPOINT
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.data.image_sets import ImageSet, load_labelled
from pipeline.data.made_images import load_generated
from pipeline.metrics.definitions import fid

CHECK = TrainSettings(
    backbone="digits_cnn",
    iterations=1200,
    batch_size=64,
    optimizer="adam",
    learning_rate=3e-3,
    backbone_lr_factor=1.0,
    weight_decay=0.0,
    schedule="cosine",
    augment_shift=2,
)
"""The judge's training: longer than a suite's, because others are measured by it."""


@dataclass(frozen=True)
class Judge:
    """A classifier that was trained on the target's labels.

    Attributes:
        network: The classifier.
        classes: The number of classes.
        size: The height and width of its images.
        reference: float64 [n, d], the features of its training images.
    """

    network: Network
    classes: int
    size: int
    reference: np.ndarray


@dataclass(frozen=True)
class Judgement:
    """What a judge finds of a set of images.

    Attributes:
        features: float64 [n, d].
        recognised: Percent of images that are recognised as their class.
    """

    features: np.ndarray
    recognised: float


def assess(
    data: Path,
    target: str,
    sets: dict[str, Path],
    sources: Sequence[str],
    seed: int,
    settings: TrainSettings = CHECK,
) -> pd.DataFrame:
    """Measure how near sets of images come to the target, and how well their classes are recognised.

    Args:
        data: A prepare artifact.
        target: The target domain.
        sets: `generate` artifacts by name.
        sources: The source domains.
        seed: Decides the judge's training and the choice of images.
        settings: The judge's training.

    Returns:
        A row for each set, one for the sources' train splits together, and one for the target's own test
        split, which shows the best that can be reached. The columns:

        * `set`, and `images`, the number of its images.
        * `recognised`: the percent of images that an ERM classifier, trained on the target's train split with
        its
          labels, recognises as their class.
        * `distance`: the Frechet distance of the set to the target's train split in that classifier's
        features.
          A set of few images looks farther away than one of many, so that all sets enter with as many as the
          smallest has.
    """
    with reproducible(threads=1):
        measured = {name: load_generated(path) for name, path in sets.items()}
        measured["source"] = concatenate(load_labelled(data, source, "train") for source in sources)
        measured["target test"] = load_labelled(data, target, "test")
        judge = _train_judge(data, target, settings, seed)
        judgements = {
            name: _judge_images(judge, images, f"{name} images") for name, images in measured.items()
        }
    count = min(len(images) for images in measured.values())
    rows = []
    for name, one in judgements.items():
        some = _choose(one.features, count, derive(seed, "some", name))
        distance = fid(some, judge.reference)
        rows.append((name, len(one.features), one.recognised, distance))
    return pd.DataFrame(rows, columns=["set", "images", "recognised", "distance"])


@lru_cache(maxsize=16)
def _train_judge(data: Path, target: str, settings: TrainSettings, seed: int) -> Judge:
    """Train the judge of a target, once for all tasks."""
    train = load_labelled(data, target, "train")
    assert train.labels is not None
    classes, size = 1 + int(train.labels.max()), train.images.shape[1]
    network = build_network(settings, classes, derive(seed, "network"), size)
    method = make_method("ERM", {}, network, derive(seed, "method"))
    pool = make_pool(train, size, network.mean, network.std, settings.augment_shift)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, labelled = Path(folder) / CHECKPOINT, LabelledBatches(pool, None, None)
        loop = Loop(network, method, labelled, None, None, settings, derive(seed, "batches"), checkpoint)
        loop.run(lambda done, total, what: None)
    return Judge(network, classes, size, extract(network, pool).numpy().astype(np.float64))


def _judge_images(judge: Judge, images: ImageSet, what: str) -> Judgement:
    """Judge labelled images.

    Raises:
        UserError: The judge does not know a label. The message names `what`.
    """
    check_labels(images, judge.classes, what)
    assert images.labels is not None
    pool = make_pool(images, judge.size, judge.network.mean, judge.network.std)
    recognised = score(predict(judge.network, pool).argmax(dim=1), images.labels, judge.classes).accuracy
    return Judgement(extract(judge.network, pool).numpy().astype(np.float64), recognised)


def _choose(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` rows of `features`, chosen by `seed`."""
    return features[np.random.default_rng(seed).permutation(len(features))[:count]]
