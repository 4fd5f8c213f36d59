"""The autoencoder that has not been trained yet: already a blurred copy of the image, of any brightness."""

import numpy as np
import pytest
import torch

from pipeline.diffusion.mini.build import make_vae


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_untrained_it_keeps_colour_and_brightness(seed: int) -> None:
    torch.manual_seed(seed)
    vae = make_vae()
    rng = np.random.default_rng(seed)
    flat = torch.from_numpy(rng.uniform(-1, 1, (12, 3, 1, 1)).astype(np.float32)).expand(-1, -1, 32, 32)
    with torch.inference_mode():
        latents = vae.encode(flat).latent_dist.mode()
        decoded = vae.decode(latents).sample
    inside = decoded[:, :, 4:-4, 4:-4]
    assert latents.shape == (12, 4, 16, 16)
    assert (inside - flat[:, :, 4:-4, 4:-4]).abs().mean() < 0.25
    means = np.stack([inside.mean((2, 3)).numpy().ravel(), flat[:, :, 0, 0].numpy().ravel()])
    assert np.corrcoef(means)[0, 1] > 0.85
