"""The untrained autoencoder keeps colour and brightness, which a random one does not."""

import numpy as np
import torch
from diffusers import AutoencoderKL

from pipeline.diffusion.mini.build import make_vae

SEEDS = range(4)


def colours_kept(vae: AutoencoderKL, seed: int) -> tuple[float, float]:
    """(mean error, correlation) of flat images' colours before and after the autoencoder."""
    colours = np.random.default_rng(seed).uniform(-1, 1, (12, 3, 1, 1)).astype(np.float32)
    flat = torch.from_numpy(colours).expand(-1, -1, 32, 32)
    with torch.inference_mode():
        decoded = vae.decode(vae.encode(flat).latent_dist.mode()).sample[:, :, 4:-4, 4:-4]
    error = (decoded - flat[:, :, 4:-4, 4:-4]).abs().mean().item()
    return error, float(np.corrcoef(decoded.mean((2, 3)).numpy().ravel(), colours.ravel())[0, 1])


def test_the_linear_start_keeps_colours_and_a_random_one_does_not() -> None:
    linear, random = [], []
    for seed in SEEDS:
        torch.manual_seed(seed)
        linear.append(colours_kept(make_vae(), seed))
        torch.manual_seed(seed)
        random.append(colours_kept(AutoencoderKL.from_config(make_vae().config), seed))
    (error, correlation), (random_error, random_correlation) = np.mean(linear, 0), np.mean(random, 0)
    assert error < 0.7 * random_error
    assert correlation > 0.7
    assert abs(random_correlation) < 0.3
