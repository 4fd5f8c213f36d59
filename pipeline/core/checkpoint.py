"""Checkpoints of training under way: tensors as safetensors, with a little JSON beside them in the same file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.core.store import write_atomic


def save_checkpoint(
    path: Path, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer, about: Any
) -> None:
    """Write `tensors`, the optimiser's state and the JSON-able `about` in one atomic step."""
    held, numbers = dict(tensors), {}
    for name, value in _flat(optimizer.state_dict()["state"], "optimizer"):
        if isinstance(value, Tensor):
            held[name] = value.to("cpu", copy=True)  # parameters may share one, which safetensors refuses
        elif value is not None:
            numbers[name] = value
    held = {name: tensor.detach().contiguous() for name, tensor in held.items()}
    write_atomic(path, save(held, metadata={"about": json.dumps(about), "optimizer": json.dumps(numbers)}))


def load_checkpoint(path: Path, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], Any]:
    """What `save_checkpoint` wrote: the tensors and `about`; the optimiser's state is put back into `optimizer`."""
    tensors: dict[str, Tensor] = {}
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        held: dict[str, Any] = json.loads(metadata.get("optimizer", "{}"))
        for key in file.keys():
            (held if key.startswith("optimizer.") else tensors)[key] = file.get_tensor(key)
    state = {int(index): own for index, own in _nested(held).get("optimizer", {}).items()}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return tensors, json.loads(metadata["about"])


def _flat(state: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """What dicts within dicts hold, by names with dots: that of bitsandbytes lies one deeper than that of torch."""
    for key, value in state.items():
        name = f"{prefix}.{key}"
        if isinstance(value, dict):
            yield from _flat(value, name)
        else:
            yield name, value


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """The dicts that `_flat` took apart, with strings as keys."""
    whole: dict[str, Any] = {}
    for name, value in flat.items():
        *way, last = name.split(".")
        inner = whole
        for key in way:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return whole
