"""Files of photos, and the inputs of trainings on them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.bench import classify as bench
from pipeline.classify.training.transforms import Inputs
from pipeline.config import TrainSettings
from pipeline.data.image_files import ImageFiles, image_files

SIDE = 256
IMAGE = 3 * SIDE**2 + 24
"""Bytes that an image takes in the cache."""


def labelled_files(paths: list[Path]) -> ImageFiles:
    return image_files(paths, np.arange(len(paths)))


def inputs(folder: Path, **settings: Any) -> Inputs:
    """For images of 224, as the Office-Home recipe has them, with a cache in `folder`."""
    choice = {"crop": "random_resized", "flip": True} | settings
    return Inputs(
        224, bench.MEAN, bench.STD, TrainSettings(backbone="resnet50", iterations=1, **choice), folder
    )


def pixels(images: torch.Tensor) -> np.ndarray:
    """Normalised images as 0 to 255, float [n, H, W, 3]."""
    mean, std = (torch.tensor(channels)[:, None, None] for channels in (bench.MEAN, bench.STD))
    return (255 * (images * std + mean)).permute(0, 2, 3, 1).numpy()


def kept(folder: Path) -> list[Path]:
    """The files of a cache."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
