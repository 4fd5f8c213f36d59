"""Checkpoints of trainings under way, from which a killed job resumes and ends with the same bytes."""

import hashlib
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

DIGEST = hashlib.sha256().digest_size
"""The bytes of the hash with which a checkpoint begins."""


def save_checkpoint(
    path: Path, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer, about: Any
) -> None:
    """Write a checkpoint in one atomic step: a SHA-256 hash, and what torch.save writes.

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
    data = buffer.getvalue()
    write_atomic(path, hashlib.sha256(data).digest() + data)


def load_checkpoint(path: Path, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], Any] | None:
    """Read a checkpoint, and put its state back into `optimizer`.

    A damaged checkpoint is renamed to end in `.damaged`, and the user is told so by a Remark: the job then
    starts from its beginning.

    Returns:
        The tensors, on the CPU, and `about`, as `save_checkpoint` took them. None if there is no checkpoint,
        or it is damaged.
    """
    try:
        content = read_checkpoint(path)
    except FileNotFoundError:
        return None
    if content is None:
        _put_aside(path)
        return None
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": content["optimizer"], "param_groups": groups})
    return content["tensors"], content["about"]


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return `tensors`, `optimizer` and `about` of a checkpoint; None if it is damaged."""
    data = path.read_bytes()
    digest, saved = data[:DIGEST], data[DIGEST:]
    if hashlib.sha256(saved).digest() != digest:
        return None
    content: dict[str, Any] = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
    return content


def _put_aside(path: Path) -> None:
    """Rename a damaged checkpoint, and say so."""
    aside = path.with_name(f"{path.name}.damaged")
    with suppress(FileNotFoundError):  # another process of the job was first
        os.replace(path, aside)
    warnings.warn(
        f"the checkpoint {path} is damaged; it was renamed to {aside.name}, and the job starts from its "
        "beginning",
        Remark,
        stacklevel=3,
    )
