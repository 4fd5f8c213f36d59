"""A small suite and its records, written by hand."""

from typing import Any

from pipeline.config import Suite

CLASSES = ["zero", "one", "two", "three", "four"]
TASKS = ["MN->MM", "MN->UC"]


def silent(done: int, total: int, what: str) -> None:
    """Hears of pictures, and says nothing."""


def make_suite(**changes: Any) -> Suite:
    """Two tasks, one method, three augmentations, two seeds; otherwise as `changes` say."""
    plain = {
        "name": "small_suite",
        "title": "Small",
        "dataset": "digits",
        "setting": "uda",
        "tasks": TASKS,
        "base_model": {"name": "mini"},
        "adapter": {},
        "finetune": {},
        "generate": {},
        "methods": ["ERM"],
        "augmentations": ["none", "base", "terra"],
        "train": {"backbone": "digits_cnn", "iterations": 1},
        "seeds": [0, 1],
        "selections": ["last"],
    }
    return Suite.model_validate(plain | changes)


def make_row(task: str, augmentation: str, seed: int, accuracy: float, **changes: Any) -> dict[str, Any]:
    """One record of the suite above."""
    plain = {
        "suite": "small_suite",
        "dataset": "digits",
        "setting": "uda",
        "task": task,
        "method": "ERM",
        "augmentation": augmentation,
        "backbone": "digits_cnn",
        "seed": seed,
        "selection": "last",
        "accuracy": accuracy,
        "per_class": [accuracy, 100.0],
        "seconds": 1.5,
        "key": "0123",
        "version": "0.1.0",
    }
    return plain | changes


GRID = {
    ("none", "MN->MM"): (30.0, 32.0),
    ("none", "MN->UC"): (60.0, 61.2),
    ("base", "MN->MM"): (70.0, 71.0),
    ("base", "MN->UC"): (60.6, 60.64),
    ("terra", "MN->MM"): (75.2, 78.6),
    ("terra", "MN->UC"): (80.0, 90.2),
}
"""Accuracies of seeds 0 and 1, by augmentation and task."""
