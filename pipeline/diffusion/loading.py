"""A base model's pipeline from a folder or the hub, of safetensors alone."""

import logging
from pathlib import Path
from typing import Any

import torch

from pipeline.config import BaseModelSpec, Precision, base_model_path, refuse_pickles
from pipeline.core.errors import UserError

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_pipeline(spec: BaseModelSpec, dtype: torch.dtype) -> Any:
    """The pipeline of `spec` with its weights as `dtype`, on the CPU.

    UserError in one sentence if it is not there, not in safetensors, or no pipeline.
    """
    # diffusers imports it wherever it is installed, and it warns of kernels for what is not done here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from diffusers import AutoencoderKL, DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    own = (
        {}
        if spec.vae is None
        else {"vae": _load(AutoencoderKL, spec.vae, spec.vae_revision, "base_model.vae", dtype)}
    )
    return _load(
        DiffusionPipeline, base_model_path(spec), spec.revision, f"base_model {spec.name!r}", dtype, **own
    )


def _load(kind: Any, where: str, revision: str | None, field: str, dtype: torch.dtype, **parts: Any) -> Any:
    """`kind.from_pretrained` of a folder or hub id; a folder's revision is a hash of its files, no commit."""
    local = Path(where).is_dir()
    if local:
        refuse_pickles(Path(where), field)
    try:
        loaded = kind.from_pretrained(
            where, use_safetensors=True, revision=None if local else revision, **parts
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0].partition(" (")[0]
        if local or where.startswith(("/", ".")):
            raise UserError(f"{field} can't be loaded with safetensors: {reason}") from error
        raise UserError(
            f"{field} is neither a folder, nor can {where} be had from the Hugging Face hub or its cache on this machine "
            f"({reason}); `run_benchmark.py doctor` tells the command that gets it where there is a network; then copy $HF_HOME, or name a folder"
        ) from error
    return loaded.to(dtype)
