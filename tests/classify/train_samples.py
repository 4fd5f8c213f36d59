"""Tiny domains and parameters, on which a training takes a fraction of a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.classify.training.stage import run
from pipeline.config import TrainSettings
from pipeline.core.seeds import derive
from pipeline.data.image_sets import DomainArrays
from pipeline.planning.kinds.train import TrainParams

CLASSES = ["left", "right", "both"]


def draw(label: int, number: int, inverted: bool, seed: int) -> np.ndarray:
    """A 32x32 image with bright bars where its class says, in noise: uint8 [32, 32, 3]."""
    random = np.random.default_rng(derive(seed, label, number, int(inverted)))
    image = random.integers(0, 120, size=(32, 32, 3))
    if label in (0, 2):
        image[4:28, 6:12] += 120
    if label in (1, 2):
        image[4:28, 20:26] += 120
    return (255 - image if inverted else image).astype(np.uint8)


def domain(count: int, inverted: bool, seed: int) -> DomainArrays:
    """`count` images with classes in turn; every fourth is for testing."""
    labels = np.arange(count) % len(CLASSES)
    images = np.stack([draw(label, i, inverted, seed) for i, label in enumerate(labels)])
    split = (np.arange(count) % 4 == 3).astype(np.uint8)
    return DomainArrays(images, labels.astype(np.int64), split, np.array([f"{i:03d}" for i in range(count)]))


def parameters(**changes: Any) -> TrainParams:
    """A short training; `changes` of TrainParams, or of its settings."""
    settings = {
        "backbone": "digits_cnn",
        "iterations": 12,
        "batch_size": 8,
        "optimizer": "adam",
        "learning_rate": 3e-3,
        "backbone_lr_factor": 1.0,
        "schedule": "cosine",
        "augment_shift": 2,
        "checkpoint_every": 5,
        "keep_weights": True,
    }
    params = {
        "dataset": "bars",
        "setting": "uda",
        "sources": ["S"],
        "target": "T",
        "classes": CLASSES,
        "image_size": 32,
        "method": "ERM",
        "hyperparameters": {},
        "augmentation": "none",
        "made_fraction": None,
        "made_weight": 1.0,
        "selections": ["last"],
        "seed": 0,
        "threads": 1,
    }
    for name, value in changes.items():
        (params if name in params else settings)[name] = value
    return TrainParams(**params, settings=TrainSettings(**settings))


def ignore(done: int, total: int, what: str) -> None:
    """A progress callback that does nothing."""


def products(workspace: Path) -> dict[str, bytes]:
    """The files that would become the artifact, without those for resuming."""
    files = [path for path in sorted(workspace.rglob("*")) if path.is_file()]
    return {path.name: path.read_bytes() for path in files if "scratch" not in path.parts}


class Killed(Exception):
    """Stands for kill -9."""


def killed_after(steps: int) -> Callable[[int, int, str], None]:
    """A progress callback that ends the training after so many steps."""

    def progress(done: int, total: int, what: str) -> None:
        if done == steps:
            raise Killed

    return progress


def killed_and_resumed(
    choice: dict[str, Any], inputs: dict[str, Path], workspace: Path, *kills: int
) -> dict[str, bytes]:
    """The products of a training that is killed after each number of steps, and then resumed."""
    for steps in kills:
        with pytest.raises(Killed):
            run(parameters(**choice), inputs, workspace, killed_after(steps))
    run(parameters(**choice), inputs, workspace, ignore)
    return products(workspace)
