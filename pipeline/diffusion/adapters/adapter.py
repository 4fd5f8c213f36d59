"""What every adapter can do, and what all of them do alike: choose layers, save, load, become a LoRA file."""

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.core.seeds import derive
from pipeline.core.store import write_atomic

LAYER_TYPES = {"Linear": nn.Linear, "Conv2d": nn.Conv2d}

Condition = float | list[float] | Tensor
"""What an update depends on beside its weights.

Of a Terra, its time t: a number or [t_dim] for the whole batch, or one per sample, [n] or [n, t_dim]. Of a LoRWeB, an
embedded analogy: [width], or one per sample, [n, width]. A LoRA depends on nothing and ignores its condition.
"""


class Adapter(ABC):
    """Low-rank updates beside frozen Linear and Conv2d layers of a denoiser, which it wraps in place.

    Two states: adapted (each sample at the condition that `set_condition` says) and merged (one condition for all, inside
    the base weights, at the base model's cost). `merge` and `unmerge` are inverse, bit for bit.
    """

    spec: AdapterSpec
    scale: float = 1.0
    """The factor on the update, on top of alpha / rank."""

    @abstractmethod
    def set_condition(self, condition: Condition) -> None:
        """The condition of the batches to come; UserError if it has not the dimensions of the adapter's."""

    @abstractmethod
    def set_scale(self, scale: float) -> None:
        """A factor on the update, on top of alpha / rank."""

    @abstractmethod
    def merge(self, condition: Condition) -> None:
        """Put dW at one condition for all into the base weights."""

    @abstractmethod
    def unmerge(self) -> None:
        """Restore the base weights bit for bit."""

    @abstractmethod
    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Everything that learns: `<layer>.down`, `<layer>.up`, and what else the adapter has."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Everything that learns."""
        yield from self.named_parameters().values()

    @abstractmethod
    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict]:
        """For an optimiser: A and B at `learning_rate`, a middle matrix at `middle_factor` times that."""

    def tensors(self) -> dict[str, Tensor]:
        """The learned tensors by the names of the parameters."""
        return {name: parameter.detach().contiguous() for name, parameter in self.named_parameters().items()}

    def save(self, path: Path) -> None:
        """Write the learned tensors with the configuration inside, as safetensors."""
        metadata = {self.spec.type: json.dumps(self.spec.model_dump())}
        write_atomic(path, save(self.tensors(), metadata=metadata))

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Read what `save` wrote; UserError that names both sides if it does not fit this model."""
        saved, held = read_adapter(path)
        if saved != self.spec:
            raise UserError(f"{path} holds an adapter of {saved}, but the model was given {self.spec}")
        own = self.tensors()
        if held.keys() != own.keys():
            odd = min(held.keys() ^ own.keys())
            side = "the file" if odd in held else "the model"
            raise UserError(f"{path} does not fit this base model: {odd} is in {side} alone")
        for name, tensor in own.items():
            if held[name].shape != tensor.shape:
                raise UserError(
                    f"{path}: {name} is {list(held[name].shape)}, the base model needs {list(tensor.shape)}"
                )
            tensor.copy_(held[name])


def read_adapter(path: Path) -> tuple[AdapterSpec, dict[str, Tensor]]:
    """The configuration and the tensors of what `Adapter.save` wrote, for which no base model is needed."""
    spec = saved_spec(path)
    with safe_open(path, "pt") as file:
        return spec, {name: file.get_tensor(name) for name in file.keys()}


def saved_spec(path: Path) -> AdapterSpec:
    """The configuration inside an adapter that `Adapter.save` wrote; UserError if there is none that is known here."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} can't be read as safetensors: {error}") from error
    held = next((metadata[name] for name in ("terra", "lora", "lorweb") if name in metadata), None)
    if held is None:
        raise UserError(f"{path} is not an adapter of this project: it holds no configuration")
    try:
        return AdapterSpec.model_validate_json(held)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "its configuration"
        raise UserError(f"{path}: {field} is {first['input']!r}, but: {first['msg']}") from error


def matching_layers(denoiser: nn.Module, spec: AdapterSpec) -> dict[str, nn.Linear | nn.Conv2d]:
    """The layers of `denoiser` that `spec` names; UserError if there are none, or one can't be adapted."""
    types = tuple(LAYER_TYPES[name] for name in spec.layers)
    pattern = re.compile(spec.include)
    found = {
        name: layer
        for name, layer in denoiser.named_modules()
        if isinstance(layer, types) and pattern.fullmatch(name)
    }
    if not found:
        raise UserError(
            f"adapter: no {' or '.join(spec.layers)} layer of the base model matches {spec.include!r}"
        )
    for name, layer in found.items():
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            raise UserError(f"adapter: layer {name} is a grouped convolution, which an adapter can't wrap")
    return found


def layer_generator(seed: int, name: str) -> torch.Generator:
    """Where a layer's first weights are drawn from: all adapters of one seed start from the same A."""
    return torch.Generator().manual_seed(derive(seed, "terra", name))


def first_down(base: nn.Linear | nn.Conv2d, rank: int, generator: torch.Generator) -> Tensor:
    """A [rank, in], with the kernel of a Conv2d: uniform within 1 / sqrt(fan-in) of zero."""
    weight = base.weight
    down = torch.empty(rank, *weight.shape[1:]).uniform_(-1, 1, generator=generator)
    return (down / math.sqrt(math.prod(weight.shape[1:]))).to(weight.device)
