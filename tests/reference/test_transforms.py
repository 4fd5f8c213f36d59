"""Images after the transforms, beside those that Pillow and torchvision make by the authors' recipes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.bench.classify import MEAN, RECIPES, STD
from pipeline.classify.training.colours import Colours, hue_shifts
from pipeline.classify.training.transforms import Augmentation, CropPool, Inputs
from pipeline.config import TrainSettings, read_training_suite
from pipeline.data.image_files import image_files
from tests.classify.training.photo_samples import pixels

FOLDER = Path(__file__).parent / "transforms"
GOLDEN = dict(np.load(FOLDER / "golden.npz"))
FILES = [FOLDER / f"{name}.png" for name in ("wide", "tall", "small")]


def pool(folder: Path, setting: str) -> CropPool:
    choice: dict[str, Any] = {"crop": "random_resized", "flip": True} | RECIPES[setting].settings
    settings = TrainSettings(backbone="none", iterations=1, **choice)
    made = Inputs(42, MEAN, STD, settings, folder).training(image_files(FILES, None))
    assert isinstance(made, CropPool)
    return made


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize("setting", ["dg", "uda"])
def test_training_images_are_those_of_the_authors(tmp_path: Path, setting: str) -> None:
    images = pool(tmp_path, setting)
    colours = None
    if setting == "dg":
        names = ("factors", "turn", "order", "grey")
        factors, turns, order, grey = (GOLDEN[f"dg_{name}"] for name in names)
        colours = Colours(factors, hue_shifts(turns), order, grey)
    drawn = Augmentation(GOLDEN[f"{setting}_box"], GOLDEN[f"{setting}_flip"], colours)
    found = pixels(images.changed([images.cut(row // 2) for row in range(6)], drawn))
    assert difference(found, GOLDEN[f"{setting}_trained"]) < 1e-3, "the bytes are equal, before normalisation"


@pytest.mark.parametrize("setting", ["dg", "uda"])
def test_evaluated_images_are_those_of_the_authors(tmp_path: Path, setting: str) -> None:
    (found,) = pool(tmp_path, setting).batches(3)
    assert difference(pixels(found), GOLDEN[f"{setting}_evaluated"]) < 1e-3


@pytest.mark.parametrize(
    ("suite", "recipe"),
    [("office_home", "uda"), ("visda2017", "uda"), ("office_home_dg", "dg"), ("pacs", "dg")],
)
def test_the_papers_suites_have_these_settings(suite: str, recipe: str) -> None:
    settings = read_training_suite(suite).train
    for name, value in RECIPES[recipe].settings.items():
        assert getattr(settings, name) == value, name
    assert settings.flip
