"""Checkpoints of trainings under way, from which a killed job resumes and ends with the same bytes."""

import io
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.core.errors import Remark
from pipeline.core.store import write_atomic

CHECKPOINT = "checkpoint.pt"
"""The name of the checkpoint in a job's scratch folder."""


def save_checkpoint(
    path: Path, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer, about: Any
) -> None:
    """Write a checkpoint in one atomic step.

    Args:
        path: The file.
        tensors: Everything else that the steps to come depend on.
        optimizer: The optimizer, of which the state of every parameter is kept. Learning rates are not: they
            follow from the settings and the step.
        about: Numbers, texts, lists and dicts, such as the step and the losses so far.
    """
    content = {
        "tensors": {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()},
        "optimizer": optimizer.state_dict()["state"],
        "about": about,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], Any] | None:
    """Read a checkpoint, and put its state back into `optimizer`.

    A damaged checkpoint is renamed to end in `.damaged`, and the user is told so by a Remark: the job then
    starts from its beginning.

    Returns:
        The tensors, on the CPU, and `about`, as `save_checkpoint` took them. None if there is no checkpoint,
        or it is damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        tensors, state, about = content["tensors"], content["optimizer"], content["about"]
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file makes torch raise errors of many kinds
        _put_aside(path, error)
        return None
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return tensors, about


def _put_aside(path: Path, error: Exception) -> None:
    """Rename a damaged checkpoint, and say so."""
    aside = path.with_name(f"{path.name}.damaged")
    with suppress(FileNotFoundError):  # another process of the job was first
        os.replace(path, aside)
    reason = (str(error).strip().splitlines() or [""])[0]
    warnings.warn(
        f"the checkpoint {path} is damaged ({type(error).__name__}: {reason}); it was renamed to "
        f"{aside.name}, and the job starts from its beginning",
        Remark,
        stacklevel=3,
    )
