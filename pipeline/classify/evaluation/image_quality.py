"""How good made images are, by a classifier trained on the target's own labels for this check alone."""

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
from pipeline.classify.training.batches import Labelled, check_labels, joined, make_pool
from pipeline.classify.training.loop import Loop
from pipeline.config import TrainSettings
from pipeline.core.checkpoint import CHECKPOINT
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.data.generated import load_generated
from pipeline.data.image_sets import ImageSet, load_labelled
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
"""A longer training than a suite's, for it is the measure of the others."""


@dataclass(frozen=True)
class Judge:
    """A classifier that knows the target's labels; its features float64 [n, d] of what it learned from."""

    network: Network
    classes: int
    size: int
    reference: np.ndarray


@dataclass(frozen=True)
class Seen:
    """A set as the classifier sees it: features float64 [n, d], and percent recognised as their class."""

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
    """How near sets of images come to the target, and how well their classes are recognised.

    sets: `generate` artifacts by name. The rows: each set, the sources' train splits as one, and the target's own
    test split, which shows the best to be had. The columns:
      set, images (how many it has),
      recognised: percent that an ERM classifier, trained on the target's train split with its labels, gives
        to the class that they were made for (for the target's test split, its accuracy);
      distance: the Frechet distance of the set to the target's train split in that classifier's features. Few
        images look farther away than many, so that each set enters with as many as the smallest has.
    """
    with reproducible(threads=1):
        measured = {name: load_generated(path) for name, path in sets.items()}
        measured["source"] = joined(load_labelled(data, source, "train") for source in sources)
        measured["target test"] = load_labelled(data, target, "test")
        judge = _judge(data, target, settings, seed)
        seen = {name: _see(judge, images, f"{name} images") for name, images in measured.items()}
    count = min(len(images) for images in measured.values())
    rows = []
    for name, one in seen.items():
        some = _some(one.features, count, derive(seed, "some", name))
        distance = fid(some, judge.reference)
        rows.append((name, len(one.features), one.recognised, distance))
    return pd.DataFrame(rows, columns=["set", "images", "recognised", "distance"])


@lru_cache(maxsize=16)
def _judge(data: Path, target: str, settings: TrainSettings, seed: int) -> Judge:
    """Trained once for all tasks with this target."""
    train = load_labelled(data, target, "train")
    classes, size = 1 + int(train.labels.max()), train.images.shape[1]
    network = build_network(settings, classes, derive(seed, "network"))
    method = make_method("ERM", {}, network, derive(seed, "method"))
    pool = make_pool(train, size, network.mean, network.std, settings.augment_shift)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, labelled = Path(folder) / CHECKPOINT, Labelled(pool, None, None)
        loop = Loop(network, method, labelled, None, None, settings, derive(seed, "batches"), checkpoint)
        loop.run(lambda done, total, what: None)
    return Judge(network, classes, size, extract(network, pool).numpy().astype(np.float64))


def _see(judge: Judge, images: ImageSet, what: str) -> Seen:
    check_labels(images, judge.classes, what)
    pool = make_pool(images, judge.size, judge.network.mean, judge.network.std)
    recognised = score(predict(judge.network, pool).argmax(dim=1), images.labels, judge.classes).accuracy
    return Seen(extract(judge.network, pool).numpy().astype(np.float64), recognised)


def _some(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` rows of `features`, chosen by `seed`."""
    return features[np.random.default_rng(seed).permutation(len(features))[:count]]
