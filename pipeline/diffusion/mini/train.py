"""Train the ``mini`` base model from nothing, on a CPU core in about forty minutes.

    python -m pipeline.diffusion.mini.train --work /tmp/mini

Glyphs are drawn, the autoencoder is trained on them, their latents are computed, and the denoiser and the
text encoder are trained together on the latents. The work folder keeps the product of each of these steps, so
that the same command resumes an interrupted run. Equal arguments give an equal model.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

from pipeline.core.seeds import derive
from pipeline.data.digits.glyphs import texture
from pipeline.diffusion.mini import WEIGHTS
from pipeline.diffusion.mini.autoencoder import psnr, standardise_latents, train_vae
from pipeline.diffusion.mini.build import IMAGE_SIZE
from pipeline.diffusion.mini.denoiser import DenoiserSettings, train_denoiser
from pipeline.diffusion.mini.glyph_pool import make_pool

TEXTURES = 0.1
"""Plain textures for each glyph, on which the autoencoder is trained too."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.diffusion.mini.train",
        description="Train the mini base model from nothing, on a CPU core in about forty minutes.",
        epilog=(
            "Example: python -m pipeline.diffusion.mini.train --work /tmp/mini\n"
            "To resume an interrupted run, repeat the command. At most 200 steps are lost.\n"
            "To start again from nothing, delete the work folder."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--work", type=Path, required=True, help="folder for images and checkpoints (about 400 MB)")
    add("--out", type=Path, default=WEIGHTS, help="folder of the finished model (default: %(default)s)")
    add("--images", type=int, default=36000, help="number of glyphs (default: %(default)s)")
    add("--vae-steps", type=int, default=900, help="steps of the autoencoder (default: %(default)s)")
    add(
        "--vae-batch", type=int, default=16, help="images in a step of the autoencoder (default: %(default)s)"
    )
    add("--steps", type=int, default=4000, help="steps of the denoiser (default: %(default)s)")
    add("--batch", type=int, default=40, help="images in a step of the denoiser (default: %(default)s)")
    add(
        "--rate", type=float, default=1.5e-3, help="peak learning rate of the denoiser (default: %(default)s)"
    )
    add(
        "--workers",
        type=int,
        default=1,
        help="processes that draw, and threads that train (default: %(default)s; two save a tenth)",
    )
    add("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")
    return parser.parse_args(arguments)


def load_pool(work: Path, count: int, seed: int, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and classes of the pool, which is drawn once and kept in `work`."""
    file = work / "pool.npz"
    if not file.exists():
        started = time.perf_counter()
        images, labels = make_pool(count, seed, workers)
        part = file.with_suffix(".part")
        with part.open("wb") as stream:
            np.savez(stream, images=images, labels=labels)
        os.replace(part, file)
        print(f"drew {len(images)} glyphs in {time.perf_counter() - started:.0f} s", flush=True)
    with np.load(file) as pool:
        return pool["images"], pool["labels"]


def main(arguments: list[str] | None = None) -> None:
    """Draw, train and export."""
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.workers)
    images, labels = load_pool(options.work, options.images, options.seed, options.workers)
    rng = np.random.default_rng(derive(options.seed, "textures"))
    plain = np.stack([texture(IMAGE_SIZE, rng) for _ in range(int(TEXTURES * len(images)))])
    everything = np.concatenate([images, (plain * 255).astype(np.uint8)])
    vae = train_vae(everything, options.work, options.vae_steps, options.vae_batch, options.seed)
    print(
        f"vae: {psnr(vae, images[:512]).mean():.1f} dB on glyphs, "
        f"{psnr(vae, everything[-512:]).mean():.1f} dB on textures"
    )
    latents = standardise_latents(vae, images)
    print(f"vae with standardised latents: {psnr(vae, images[:512]).mean():.1f} dB on glyphs", flush=True)
    settings = DenoiserSettings(options.steps, options.batch, options.rate, options.seed)
    train_denoiser(vae, latents, labels, options.work, options.out, settings)


if __name__ == "__main__":
    main()
