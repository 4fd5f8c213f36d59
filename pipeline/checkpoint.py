"""Checkpoints of training under way: tensors as safetensors, with a little JSON beside them in the same file."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.store import write_atomic


def save_checkpoint(
    path: Path, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer, about: Any
) -> None:
    """Write `tensors`, the optimiser's state and the JSON-able `about` in one atomic step."""
    held = dict(tensors)
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:
                held[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    held = {name: tensor.detach().contiguous() for name, tensor in held.items()}
    write_atomic(path, save(held, metadata={"about": json.dumps(about)}))


def load_checkpoint(path: Path, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], Any]:
    """What `save_checkpoint` wrote: the tensors and `about`; the optimiser's state is put back into `optimizer`."""
    tensors: dict[str, Tensor] = {}
    state: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        for key in file.keys():  # noqa: SIM118 - not a dict
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                state.setdefault(int(index), {})[name] = file.get_tensor(key)
            else:
                tensors[key] = file.get_tensor(key)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return tensors, about
