"""The base model and the endpoints that tests of morphs share."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import BaseModelSpec
from pipeline.data.image_sets import load_labelled
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.morph.endpoints import Endpoint


@pytest.fixture(scope="session")
def mini() -> BaseModel:
    return BaseModel.load(BaseModelSpec(name="mini"))


@pytest.fixture(scope="session")
def two_ends(digits_artifact: Path) -> tuple[Endpoint, Endpoint]:
    """A white three on black, and a coloured seven."""
    found = []
    for domain, label, prompt in (("MN", 3, "a three"), ("SY", 7, "a seven")):
        images = load_labelled(digits_artifact, domain, "train")
        found.append(Endpoint(images.images[np.flatnonzero(images.labels == label)[:1]], prompt))
    return tuple(found)
