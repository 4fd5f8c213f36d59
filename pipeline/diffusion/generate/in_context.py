"""Analogies in context: b' is sampled as the last quarter of a 2x2 grid whose other quarters are a, a' and b.

    a   a'
    b   b'

The authors of LoRWeB (Manor et al. 2026) give this grid to FLUX Kontext, which takes images as context. A
denoiser of Stable Diffusion's shape takes no images beside its latents. Here, therefore, the denoiser sees
the whole grid, and every sampling step replaces the three known quarters by their own latents at that step's
noise level, as in inpainting with an unconditional model (RePaint, Lugmayr et al., CVPR 2022). Each quarter
has one fixed noise for all steps, so that sampling is deterministic. Images are encoded one by one, and their
latents are put side by side.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.core.seeds import derive
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.sampling import Predict, start_noise


def grid(a: Tensor, a_prime: Tensor, b: Tensor, b_prime: Tensor) -> Tensor:
    """Put latents [n, c, h, w] of the four quarters together as grids [n, c, 2h, 2w]."""
    return torch.cat([torch.cat([a, a_prime], dim=-1), torch.cat([b, b_prime], dim=-1)], dim=-2)


def last_quarter(latents: Tensor) -> Tensor:
    """Cut b' out of grids: [n, c, 2h, 2w] to [n, c, h, w]."""
    height, width = latents.shape[-2:]
    return latents[..., height // 2 :, width // 2 :]


def in_grid(model: BaseModel, predict: Predict, known: Sequence[Tensor], noise: Sequence[Tensor]) -> Predict:
    """Turn a prediction for whole grids into one for b' alone, [n, c, h, w].

    Args:
        model: Its noise schedule is used.
        predict: The guided prediction for grids.
        known: The clean latents of a, a' and b, [n, c, h, w] each.
        noise: The noise that is added to them at every level, of the same shapes.
    """

    def predict_last(latents: Tensor, timestep: int) -> Tensor:
        alpha_bar = model.alpha_bar[timestep]
        a, a_prime, b = (
            alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * added
            for clean, added in zip(known, noise, strict=True)
        )
        return last_quarter(predict(grid(a, a_prime, b, latents), timestep))

    return predict_last


def predict_beside(
    model: BaseModel, predict: Predict, quarters: Sequence[np.ndarray], seeds: Sequence[int]
) -> Predict:
    """Turn a prediction for whole grids into one for b' beside the images a, a' and b.

    Args:
        model: Encodes the images.
        predict: The guided prediction for grids.
        quarters: The images a, a' and b, [n, H, W, 3] each.
        seeds: The seeds of the n samples, from which each quarter's noise is derived.
    """
    known = [model.encode(images) for images in quarters]
    derived = [[derive(seed, "quarter", quarter) for seed in seeds] for quarter in range(len(known))]
    return in_grid(model, predict, known, [start_noise(model, some) for some in derived])
