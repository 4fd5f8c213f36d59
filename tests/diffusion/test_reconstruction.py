"""The mini model on real digits: inverted and sampled again at t = 0, a source image comes back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import AdapterSpec, BaseModelSpec
from pipeline.data.image_sets import load_labelled
from pipeline.diffusion.adapters.terra import TerraAdapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.sampling import Levels, classifier_free, invert, sample

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each image, in dB."""
    error = np.square(a.astype(float) - b.astype(float)).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / error)


@pytest.fixture(scope="module")
def model() -> BaseModel:
    """The mini model with a Terra that has learned something, merged at t = 0."""
    model = BaseModel.load(BaseModelSpec(name="mini", resolution=32))
    adapter = TerraAdapter(model.denoiser, AdapterSpec(rank=4, alpha=4.0), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.up.normal_(std=0.01, generator=generator)
            layer.middle.normal_(std=0.5, generator=generator)
    adapter.merge(0.0)
    return model


@pytest.mark.parametrize("domain", ["MN", "UC"])
def test_fifty_steps_there_and_back_reconstruct_the_source(
    model: BaseModel, digits_artifact: Path, domain: str
) -> None:
    source = load_labelled(digits_artifact, domain, "train").take(range(20))
    prompts = model.embed([f"a {WORDS[label]}" for label in source.labels])
    predict = classifier_free(model.denoiser, prompts, prompts, 1.0)
    levels = Levels.make(model, 50, depth=0.9)
    noisy = invert(model, predict, model.encode(source.images), levels, refinements=1)
    back = model.decode(sample(model, predict, noisy, levels))
    assert psnr(source.images, back).mean() >= 25
