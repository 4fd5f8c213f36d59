"""LoRA files as diffusers and the tools around it exchange them.

Written in peft's layout: `unet.<layer>.lora_A.weight` [r, in] or [r, in, k, k], and `unet.<layer>.lora_B.weight`
[out, r] or [out, r, 1, 1], with nothing about alpha, which means alpha = r: dW = B A. Read in any layout that diffusers
reads, kohya's among them.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic

Factors = dict[str, tuple[Tensor, Tensor]]
"""A [r, in, ...] and B [out, r] of every layer, by name: dW = B A, all factors inside B."""

PREFIX = "unet"
READ = "read"


def write_lora(path: Path, factors: Factors, about: dict) -> None:
    """A file for `pipe.load_lora_weights(path)`; `about`, JSON-able, goes with it for people to read."""
    tensors = {}
    for name, (down, up) in factors.items():
        tensors[f"{PREFIX}.{name}.lora_A.weight"] = down.contiguous()
        tensors[f"{PREFIX}.{name}.lora_B.weight"] = up.reshape(*up.shape, *[1] * (down.ndim - 2)).contiguous()
    write_atomic(path, save(tensors, metadata={"format": "pt", "terrabench": json.dumps(about)}))


@torch.no_grad()
def read_lora(denoiser: nn.Module, path: Path) -> Factors:
    """The LoRA in the file at `path`, as diffusers puts it on `denoiser`, which is left as it was.

    denoiser: a model of diffusers, without adapters; not to be used further after an error. UserError if the file is no LoRA of such a model, or also
    changes a text encoder.
    """
    from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
    from peft.tuners.lora import LoraLayer

    if not path.is_file():
        raise UserError(f"there is no LoRA file {path}")  # diffusers would look for a repository of that name
    try:
        state, alphas, metadata = StableDiffusionXLLoraLoaderMixin.lora_state_dict(
            str(path), use_safetensors=True, unet_config=denoiser.config, return_lora_metadata=True
        )
        others = sorted(key for key in state if not key.startswith(f"{PREFIX}."))
        if others:
            raise UserError(
                f"{path} holds {others[0]}, but an adapter of this project is on the {PREFIX} alone"
            )
        denoiser.load_lora_adapter(
            state, prefix=PREFIX, adapter_name=READ, network_alphas=alphas, metadata=metadata
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise UserError(
            f"{path} can't be read as a LoRA of this {type(denoiser).__name__}: {reason}"
        ) from error
    factors = {
        name: (layer.lora_A[READ].weight, layer.scaling[READ] * layer.lora_B[READ].weight.flatten(1))
        for name, layer in denoiser.named_modules()
        if isinstance(layer, LoraLayer)
    }
    denoiser.unload_lora()
    return factors
