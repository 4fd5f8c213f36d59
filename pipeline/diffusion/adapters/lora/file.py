"""LoRA files in the layouts that diffusers and related tools exchange.

Written in peft's layout: `unet.<layer>.lora_A.weight` [r, in] or [r, in, k, k], and
`unet.<layer>.lora_B.weight` [out, r] or [out, r, 1, 1]. No alpha is written, which means alpha = r, so that
dW = B A. Read in every layout that diffusers reads, kohya's among them.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic
from pipeline.core.tensor_files import refuse_non_finite, sort_metadata
from pipeline.diffusion.adapters.adapter import Factors

PREFIX = "unet"
NAME = "read"
"""peft's name of the LoRA while it is being read."""


def write_lora(path: Path, factors: Factors, about: dict[str, Any]) -> None:
    """Write a file for `pipe.load_lora_weights(path)`, with `about` as JSON in its metadata."""
    tensors = {}
    for name, (down, up) in factors.items():
        tensors[f"{PREFIX}.{name}.lora_A.weight"] = down.contiguous()
        tensors[f"{PREFIX}.{name}.lora_B.weight"] = up.reshape(*up.shape, *[1] * (down.ndim - 2)).contiguous()
    metadata = {"format": "pt", "terrabench": json.dumps(about)}
    write_atomic(path, sort_metadata(save(tensors, metadata=metadata)))


@torch.no_grad()
def read_lora(denoiser: Any, path: Path) -> Factors:
    """Return the LoRA in a file, as diffusers loads it onto `denoiser`. The denoiser is left unchanged.

    Args:
        denoiser: A diffusers model without adapters. After an error it must not be used any more.
        path: A LoRA file in any layout that diffusers reads.

    Raises:
        UserError: The file is no LoRA of such a model, or it also changes a text encoder.
    """
    from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
    from peft.tuners.lora import LoraLayer

    if not path.is_file():
        raise UserError(f"there is no LoRA file {path}")  # diffusers would look for a repository of that name
    try:
        state, alphas, metadata = StableDiffusionXLLoraLoaderMixin.lora_state_dict(
            str(path), use_safetensors=True, unet_config=denoiser.config, return_lora_metadata=True
        )
        refuse_non_finite(path, state)
        others = sorted(key for key in state if not key.startswith(f"{PREFIX}."))
        if others:
            raise UserError(
                f"{path} holds {others[0]}, but an adapter of this project is on the {PREFIX} alone"
            )
        denoiser.load_lora_adapter(
            state, prefix=PREFIX, adapter_name=NAME, network_alphas=alphas, metadata=metadata
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise UserError(
            f"{path} can't be read as a LoRA of this {type(denoiser).__name__}: {reason}"
        ) from error
    layers = {name: layer for name, layer in denoiser.named_modules() if isinstance(layer, LoraLayer)}
    factors = {name: _factors(layer) for name, layer in layers.items()}
    denoiser.unload_lora()
    return factors


def _factors(layer: Any) -> tuple[Tensor, Tensor]:
    """Return A and scaling * B of a LoraLayer of peft."""
    return layer.lora_A[NAME].weight, layer.scaling[NAME] * layer.lora_B[NAME].weight.flatten(1)
