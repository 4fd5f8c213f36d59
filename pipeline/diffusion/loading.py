"""Load the pipeline of a base model from a folder or the Hugging Face hub, from safetensors only."""

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from pipeline.config import BaseModelSpec, Precision, base_model_path, refuse_pickles, vae_path, variant_of
from pipeline.core.errors import UserError
from pipeline.core.paths import PROGRAM
from pipeline.core.tensor_files import open_safetensors, refuse_non_finite

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_pipeline(spec: BaseModelSpec, dtype: torch.dtype) -> Any:
    """Load the pipeline of `spec` onto the CPU, with weights of `dtype`.

    Raises:
        UserError: It is not there, is not in safetensors, or is no pipeline. The message is one sentence.
    """
    # diffusers imports bitsandbytes where it is installed, which warns of missing kernels. None is used here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from diffusers import AutoencoderKL, DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    vae = vae_path(spec)
    parts = (
        {} if vae is None else {"vae": _load(AutoencoderKL, vae, spec.vae_revision, "base_model.vae", dtype)}
    )
    return _load(
        DiffusionPipeline, base_model_path(spec), spec.revision, f"base_model {spec.name!r}", dtype, **parts
    )


def _load(kind: Any, where: str, revision: str | None, field: str, dtype: torch.dtype, **parts: Any) -> Any:
    """Call `kind.from_pretrained` with a folder or a hub id.

    Args:
        kind: A class of diffusers.
        where: Folder or hub id.
        revision: Commit of a hub id. That of a folder is a hash of its files and is not passed on.
        field: Name of the suite's field, for messages.
        dtype: Type of the weights.
        parts: Parts of the pipeline that are loaded already.
    """
    is_folder = Path(where).is_dir()
    if is_folder:
        refuse_pickles(Path(where), field)
    variant = variant_of(Path(where), field) if is_folder else None
    try:
        loaded = kind.from_pretrained(
            where, use_safetensors=True, revision=None if is_folder else revision, variant=variant, **parts
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].partition(" (")[0]
        if is_folder or where.startswith(("/", ".")):
            damaged = _unreadable_file(Path(where))
            raise UserError(f"{field} can't be loaded with safetensors: {damaged or reason}") from error
        raise UserError(
            f"{field} is no folder, and {where} is neither on the Hugging Face hub nor in its cache on this "
            f"machine ({reason}); `{PROGRAM} doctor` shows the command that downloads it on a machine "
            "with a network; then copy $HF_HOME here, or name a folder"
        ) from error
    _refuse_non_finite(loaded, where, field)
    return loaded.to(dtype)


def _unreadable_file(folder: Path) -> str:
    """Return what is wrong with the first safetensors file in `folder` that can't be opened; "" if none."""
    for path in sorted(folder.rglob("*.safetensors")):
        try:
            with open_safetensors(path):
                pass
        except UserError as error:
            return str(error)
    return ""


def _refuse_non_finite(loaded: Any, where: str, field: str) -> None:
    """Raise a UserError if a weight of a pipeline or of a part is NaN or infinite; it names the file."""
    for name, part in getattr(loaded, "components", {"": loaded}).items():
        if isinstance(part, nn.Module):
            files = sorted(Path(where, name).glob("*.safetensors")) or [Path(where, name)]
            refuse_non_finite(f"{field}: {' or '.join(map(str, files))}", part.state_dict())
