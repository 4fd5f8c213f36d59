"""Latents and prompt embeddings, computed once for a job and kept in a folder of its scratch.

<folder>/<name>.npy            latents of one set of images, float32 [N, h, w, c]: 256 KiB an image at 1,024
px <folder>/<name>.part.npy       the same file while it is being written; <name>.done holds the number of
latents <folder>/<name>.safetensors    prompt embeddings
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
    """Return the latents [N, c, h, w] of `images`, which are read from the disk when they are indexed.

    Images are encoded in slices, so that image files need not all be in memory. A job that was killed resumes
    at the slice that was under way. Channels are last on the disk, which is the layout of the VAE's output
    and of the denoiser's input.
    """
    path = folder / f"{name}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part, done = folder / f"{name}.part.npy", folder / f"{name}.done"
        first = int(done.read_text()) if done.exists() else 0
        channels, height, width = model.latent_shape
        shape = (len(images), height, width, channels)
        latents = np.lib.format.open_memmap(part, "r+" if first else "w+", np.float32, shape)
        for start in range(first, len(images), VAE_BATCH):
            stop = min(start + VAE_BATCH, len(images))
            latents[start:stop] = model.encode(images[start:stop]).permute(0, 2, 3, 1).cpu().numpy()
            latents.flush()
            write_atomic(done, str(stop))
        del latents
        part.rename(path)
    return torch.from_numpy(np.load(path, mmap_mode="c")).permute(0, 3, 1, 2)


def cached_prompts(model: BaseModel, prompts: list[str], folder: Path, name: str) -> PromptEmbeddings:
    """Return the embeddings of `prompts`, read from the disk if they are there."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        tensors = model.embed(prompts).tensors()
        write_atomic(path, save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}))
    return PromptEmbeddings(**load_file(path))
