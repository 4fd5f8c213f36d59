"""Latents and prompt embeddings, computed once for a job and kept in a folder of its scratch.

<folder>/<name>.npy             the latents of one set of images, float32 [N, h, w, c]: 256 KiB an image at 1,024 px
<folder>/<name>.part.npy        the same, under way, with how many there are in <name>.done
<folder>/prompts.safetensors    the conditions of prompts
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.core.store import write_atomic
from pipeline.diffusion.base_model import VAE_BATCH, BaseModel
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings


def cached_latents(model: BaseModel, images: np.ndarray, folder: Path, name: str) -> Tensor:
    """The latents of `images` [N, c, h, w], read from the disk when they are indexed.

    Images are taken in slices, so that those of files need not all be in memory; a job that was killed goes on at the
    slice it was at. Channels are last on the disk, as they leave the VAE, and as the denoiser wants them.
    """
    path = folder / f"{name}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part, done = folder / f"{name}.part.npy", folder / f"{name}.done"
        first = int(done.read_text()) if done.exists() else 0
        channels, height, width = model.latent_shape
        shape = (len(images), height, width, channels)
        kept = np.lib.format.open_memmap(part, "r+" if first else "w+", np.float32, shape)
        for start in range(first, len(images), VAE_BATCH):
            stop = min(start + VAE_BATCH, len(images))
            kept[start:stop] = model.encode(images[start:stop]).permute(0, 2, 3, 1).cpu().numpy()
            kept.flush()
            write_atomic(done, str(stop))
        del kept
        part.rename(path)
    return torch.from_numpy(np.load(path, mmap_mode="c")).permute(0, 3, 1, 2)


def cached_prompts(model: BaseModel, prompts: list[str], folder: Path, name: str) -> PromptEmbeddings:
    """The conditions of `prompts`."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        found = model.embed(prompts).tensors()
        write_atomic(path, save({name: tensor.contiguous().cpu() for name, tensor in found.items()}))
    return PromptEmbeddings(**load_file(path))
