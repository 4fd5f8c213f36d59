"""The checkpoint of a training: everything that the steps to come depend on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.classify.evaluation.selection import Evaluation
from pipeline.classify.training.swad import Averaging
from pipeline.core.checkpoint import load_checkpoint, save_checkpoint


def save_training(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    evaluations: list[Evaluation],
    averaging: Averaging | None,
    about: dict[str, Any],
) -> bool:
    """Write a checkpoint, unless a weight or buffer is infinite or NaN. Returns whether it was written.

    Args:
        path: The file.
        modules: The modules that are trained, by names of one's own.
        optimizer: Their optimiser.
        evaluations: The evaluations so far.
        averaging: The averaging of weights, if there is one.
        about: Numbers, texts, lists and dicts to keep.
    """
    tensors = {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        return False
    for index, one in enumerate(evaluations):
        tensors[f"probabilities.{index}"] = one.probabilities
    averaging_tensors, of_averaging = averaging.state() if averaging else ({}, None)
    tensors |= {f"averaging.{name}": tensor for name, tensor in averaging_tensors.items()}
    steps = [(one.step, one.source_accuracy) for one in evaluations]
    save_checkpoint(path, tensors, optimizer, about | {"evaluations": steps, "averaging": of_averaging})
    return True


def load_training(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    averaging: Averaging | None,
) -> tuple[list[Evaluation], dict[str, Any]] | None:
    """Restore what `save_training` wrote, by the same arguments.

    Returns:
        The evaluations and `about`; None if there is no checkpoint, or a damaged one.
    """
    restored = load_checkpoint(path, optimizer)
    if restored is None:
        return None
    tensors, about = restored
    for name, module in modules.items():
        state = _under(f"{name}.", tensors)
        _fit_buffers(module, state)
        module.load_state_dict(state)
    if averaging:
        averaging.load(_under("averaging.", tensors), about["averaging"])
    evaluations = [
        Evaluation(step, accuracy, tensors[f"probabilities.{index}"])
        for index, (step, accuracy) in enumerate(about["evaluations"])
    ]
    return evaluations, about


def _fit_buffers(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the buffers of `module` the shapes that they have in `state`, for those that grow."""
    for name, buffer in list(module.named_buffers()):
        if name in state and state[name].shape != buffer.shape:
            path, _, last = name.rpartition(".")
            setattr(module.get_submodule(path), last, torch.empty_like(state[name], device=buffer.device))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, by what follows it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
