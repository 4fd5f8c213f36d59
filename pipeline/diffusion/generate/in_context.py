"""Analogies in context: b' is painted into the last quarter of a 2x2 image whose other quarters are a, a' and b.

    a   a'
    b   b'

The authors of LoRWeB (Manor et al. 2026) give such a grid to a FLUX Kontext, which takes images as context. A denoiser
of Stable Diffusion's shape takes nothing beside what it denoises. Here, therefore, the whole grid is what it denoises,
and in sampling the three quarters that are known are put in at the noise level of every step, as in inpainting by an
unconditional model (RePaint, Lugmayr et al., CVPR 2022), each with one noise of its own for all steps, so that sampling
is deterministic. Images are encoded one by one, and their latents put side by side.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.sampling import Predict


def grid(a: Tensor, a_prime: Tensor, b: Tensor, b_prime: Tensor) -> Tensor:
    """Latents [n, c, h, w] each as those of grids, [n, c, 2h, 2w]."""
    return torch.cat([torch.cat([a, a_prime], dim=-1), torch.cat([b, b_prime], dim=-1)], dim=-2)


def last_quarter(latents: Tensor) -> Tensor:
    """B' of grids: [n, c, 2h, 2w] to [n, c, h, w]."""
    height, width = latents.shape[-2:]
    return latents[..., height // 2 :, width // 2 :]


def in_grid(model: BaseModel, predict: Predict, known: Sequence[Tensor], noise: Sequence[Tensor]) -> Predict:
    """The prediction for b' alone, [n, c, h, w], by `predict`, which is of whole grids.

    known: latents of a, a' and b, [n, c, h, w] each; noise: of the same shapes, what they are noised by at every level.
    """

    def predict_last(latents: Tensor, timestep: int) -> Tensor:
        alpha_bar = model.alpha_bar[timestep]
        quarters = [
            alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noised
            for clean, noised in zip(known, noise, strict=True)
        ]
        return last_quarter(predict(grid(*quarters, latents), timestep))

    return predict_last
