"""The autoencoder of ``mini``: its training, and the standardisation of its latents."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.lr_schedule import schedule_rates
from pipeline.core.seeds import derive
from pipeline.diffusion.mini.build import LATENT_CHANNELS, make_vae
from pipeline.diffusion.mini.glyph_pool import as_input
from pipeline.diffusion.mini.loop import CHECKPOINT_EVERY, one_cycle, save, steps_from

PEAK_RATE = 1e-3
KL_WEIGHT = 1e-6
"""A weak pull of the latents towards a unit Gaussian, which keeps them smooth."""


def train_vae(images: np.ndarray, work: Path, steps: int, batch: int, seed: int) -> Any:
    """Train the autoencoder on images uint8 [N, 32, 32, 3] by L1, squared error and a weak KL term.

    The checkpoint vae.pt in `work` is resumed if it exists. Returns a frozen AutoencoderKL.
    """
    torch.manual_seed(derive(seed, "vae"))
    vae: Any = make_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    path, first = work / "vae.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    schedule = schedule_rates(optimizer, one_cycle(steps), done=first)
    for step, values in steps_from(first, steps, "vae"):
        rng = np.random.default_rng(derive(seed, "vae", step))
        torch.manual_seed(derive(seed, "vae", step))
        target = as_input(images[rng.integers(len(images), size=batch)])
        posterior = vae.encode(target).latent_dist
        difference = vae.decode(posterior.sample()).sample - target
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loss = difference.abs().mean() + difference.square().mean() + KL_WEIGHT * kl
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        values.update(l1=difference.abs().mean().item(), kl=kl.item())
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            save({"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, path)
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def standardise_latents(vae: Any, images: np.ndarray) -> Tensor:
    """Change `vae` so that each channel of the latents of `images` has mean 0 and variance 1.

    Only the layers around the latents change. They are linear, so that images decode to what they decoded to
    before.

    Returns:
        The latents, float32 [n, 4, 16, 16].
    """
    parts = np.array_split(images, len(images) // 128 + 1)
    latents = torch.cat([vae.encode(as_input(part)).latent_dist.mode() for part in parts])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, out_of, count = vae.quant_conv, vae.post_quant_conv, LATENT_CHANNELS
    into.weight[:count] /= std[:, None, None, None]
    into.bias[:count] = (into.bias[:count] - mean) / std
    into.bias[count:] -= 2 * std.log()  # the logarithm of the variance
    out_of.bias += (out_of.weight[:, :, 0, 0] * mean).sum(1)
    out_of.weight *= std[:, None, None]
    vae.register_to_config(scaling_factor=1.0)
    return (latents - mean[:, None, None]) / std[:, None, None]


@torch.no_grad()
def psnr(vae: Any, images: np.ndarray) -> np.ndarray:
    """Return the PSNR in decibels [n] of the reconstructions of images uint8 [n, 32, 32, 3]."""
    source = as_input(images)
    difference = vae.decode(vae.encode(source).latent_dist.mode()).sample.clamp(-1, 1) - source
    return (10 * torch.log10(4.0 / difference.square().mean((1, 2, 3)).clamp(min=1e-8))).numpy()
