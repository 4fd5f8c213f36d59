"""Latents of stage one: cached ones, and fresh ones of random squares, sampled from the VAE's posterior."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, Resize

from pipeline.config import FinetuneSettings
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune import stage as finetune
from pipeline.diffusion.finetune.image_latents import image_latents
from pipeline.planning.kinds.finetune import FinetuneParams
from tests.diffusion.finetune.samples import changed
from tests.diffusion.stage_samples import Killed, killed_after, product, silent

FRESH = FinetuneSettings(encoding="fresh")


@pytest.fixture(scope="module")
def model(params: FinetuneParams) -> BaseModel:
    return BaseModel.load(params.base_model)


def taken(model: BaseModel, images: np.ndarray, rows: list[int], seed: int, folder: Path) -> torch.Tensor:
    latents = image_latents(model, FRESH, images, folder, "some")
    return latents.take(torch.tensor(rows), torch.Generator().manual_seed(seed))


def test_a_fresh_latent_is_a_sample_of_the_posterior(model: BaseModel, tmp_path: Path) -> None:
    """Of square images at the model's resolution, whose square is the image itself."""
    side = model.resolution
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    found = taken(model, images, [2, 0], 5, tmp_path)
    generator = torch.Generator().manual_seed(5)
    torch.rand(2, generator=generator)  # the places of the squares
    x = torch.from_numpy(images[[2, 0]]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        posterior = model.pipe.vae.encode(x).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator)
    expected = (posterior.mean + posterior.std * noise) * model.pipe.vae.config.scaling_factor
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert not torch.allclose(found, taken(model, images, [2, 0], 6, tmp_path))
    assert not list(tmp_path.iterdir()), "nothing is cached"


@pytest.mark.parametrize("size", [(96, 48), (40, 80)])
def test_squares_are_cut_anywhere_out_of_the_image_that_torchvision_resizes(
    model: BaseModel, tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the authors do: Resize(resolution, bilinear), then RandomCrop(resolution)."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    image.save(tmp_path / "image.png")
    whole = np.asarray(Resize(model.resolution, InterpolationMode.BILINEAR)(image))
    seen: list[np.ndarray] = []

    def encoded(images: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        seen.extend(images)
        return torch.zeros(len(images), *model.latent_shape)

    monkeypatch.setattr(model, "encode_sample", encoded)
    paths = np.array([str(tmp_path / "image.png")], dtype=object)
    taken(model, paths, [0] * 400, 0, tmp_path)
    side, slack = model.resolution, max(whole.shape) - model.resolution
    squares = [
        whole[:side, place : place + side] if size[0] > size[1] else whole[place : place + side]
        for place in range(slack + 1)
    ]
    places = [next(i for i, s in enumerate(squares) if np.array_equal(s, one)) for one in seen]
    assert {0, slack} <= set(places), "both ends are reached"
    assert abs(np.mean(places) - slack / 2) < 0.1 * slack


def test_a_killed_fine_tuning_on_fresh_latents_ends_with_the_same_bytes(
    tmp_path: Path, params: FinetuneParams, two_domains: Path
) -> None:
    fresh, inputs = changed(params, encoding="fresh", steps=5, checkpoint_every=2), {"data": two_domains}
    finetune.run(fresh, inputs, tmp_path / "whole", silent)
    with pytest.raises(Killed):
        finetune.run(fresh, inputs, tmp_path / "killed", killed_after(3))
    finetune.run(fresh, inputs, tmp_path / "killed", silent)
    assert product(tmp_path / "killed") == product(tmp_path / "whole")
    finetune.run(changed(fresh, encoding="cached"), inputs, tmp_path / "cached", silent)
    assert product(tmp_path / "cached") != product(tmp_path / "whole")
