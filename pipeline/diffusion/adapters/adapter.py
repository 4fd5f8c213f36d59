"""The interface of all adapters, and what they share: choice of layers, saving, loading, export as a LoRA."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.core.seeds import derive
from pipeline.core.store import write_atomic
from pipeline.core.tensor_files import open_safetensors, refuse_non_finite
from pipeline.diffusion.adapters.file_shapes import PartShapes, check_shapes
from pipeline.diffusion.adapters.layer_names import matching_names
from pipeline.diffusion.adapters.registry import adapter_class, saved_types

LAYER_TYPES = {"Linear": nn.Linear, "Conv2d": nn.Conv2d}

FILE = "adapter.safetensors"
"""The adapter's file in the artifact of a fine-tuning."""

Condition = float | list[float] | Tensor
"""What an update depends on beside its weights.

Of a Terra, its time t: a number or [t_dim] for the whole batch, or one per sample, [n] or [n, t_dim]. Of a
LoRWeB, an embedded analogy: [width], or one per sample, [n, width]. A LoRA depends on nothing and ignores its
condition.
"""

Factors = dict[str, tuple[Tensor, Tensor]]
"""A LoRA as A [r, in, ...] and B [out, r] by layer name: dW = B A, with all scaling factors inside B."""


class Adapter(ABC):
    """Low-rank updates beside frozen Linear and Conv2d layers of a denoiser, which are wrapped in place.

    An adapter is in one of two states. Adapted: each sample has the condition that `set_condition` set.
    Merged: the update at one condition is part of the base weights, and a pass costs what it costs the base
    model. `merge` and `unmerge` are inverse, bit for bit.

    Attributes:
        spec: The adapter's type, rank and layers.
        scale: Factor on the update, on top of alpha / rank.
        saved_as: The type that a file names if no suite can name it; "" for the type of the spec.
    """

    spec: AdapterSpec
    scale: float = 1.0
    saved_as: str = ""

    @abstractmethod
    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> None:
        """Wrap the layers of `denoiser` that `spec` names; the initial weights are drawn from `seed`."""

    @abstractmethod
    def set_condition(self, condition: Condition) -> None:
        """Set the condition of the next batches.

        Raises:
            UserError: `condition` has other dimensions than the adapter's.
        """

    @abstractmethod
    def set_scale(self, scale: float) -> None:
        """Set the factor on the update, on top of alpha / rank."""

    def merge(self, condition: Condition) -> None:
        """Make the weights the base weights plus dW at one condition. Warns where dW is of lower rank."""
        self.warn_at(condition)
        self.remerge(condition)

    def warn_at(self, condition: Condition) -> None:  # noqa: B027 (most types have nothing to warn of)
        """Issue a warning if dW at `condition` is of lower rank than elsewhere."""

    @abstractmethod
    def remerge(self, condition: Condition) -> None:
        """Do what `merge` does without its check, for conditions that are merged again and again."""

    @abstractmethod
    def unmerge(self) -> None:
        """Restore the base weights bit for bit."""

    @abstractmethod
    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Return all trainable parameters: `<layer>.down`, `<layer>.up`, and others that the adapter has."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield all trainable parameters."""
        yield from self.named_parameters().values()

    @abstractmethod
    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict[str, Any]]:
        """Return groups for an optimizer: A and B at `learning_rate`, others at `middle_factor` times it."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the trained tensors by parameter name."""
        return {name: parameter.detach().contiguous() for name, parameter in self.named_parameters().items()}

    def save(self, path: Path) -> None:
        """Write the trained tensors as safetensors, with the adapter's spec in the metadata."""
        metadata: dict[str, str] = {self.saved_as or self.spec.type: self._saved_spec()}
        write_atomic(path, save(self.tensors(), metadata=metadata))

    def _saved_spec(self) -> str:
        """Return the spec as JSON, without its type where `saved_as` names another."""
        return json.dumps(self.spec.model_dump(exclude={"type"} if self.saved_as else None))

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Read tensors that `save` wrote.

        Raises:
            UserError: The file does not fit this adapter or its base model. The message names both sides.
        """
        spec, tensors = read_adapter(path)
        if spec != self.spec:
            raise UserError(f"{path} holds an adapter of {spec}, but the model was given {self.spec}")
        own = self.tensors()
        if tensors.keys() != own.keys():
            name = min(tensors.keys() ^ own.keys())
            side = "the file" if name in tensors else "the model"
            raise UserError(f"{path} does not fit this base model: only {side} has {name}")
        for name, tensor in own.items():
            if tensors[name].shape != tensor.shape:
                raise UserError(
                    f"{path}: {name} is {list(tensors[name].shape)}, but the base model needs "
                    f"{list(tensor.shape)}"
                )
            tensor.copy_(tensors[name])

    @classmethod
    def part_shapes(cls, spec: AdapterSpec) -> PartShapes:
        """Return the shape of each trainable part of a layer in a file (see file_shapes.py)."""
        return {"down": (spec.width, None), "up": (None, spec.width)}

    @classmethod  # noqa: B027 (most types can be exported, and check nothing)
    def check_exportable(cls, path: Path, t: list[float] | None) -> None:
        """Raise a UserError unless an adapter of this type, saved at `path`, is one LoRA at the time `t`."""

    @classmethod
    @torch.no_grad()
    def lora_factors(
        cls,
        spec: AdapterSpec,
        tensors: dict[str, Tensor],
        condition: Condition | None = None,
        scale: float = 1.0,
    ) -> Factors:
        """Return the LoRA that an adapter of this type is at one condition. No base model is needed.

        Args:
            spec: The adapter's spec.
            tensors: The adapter's tensors by parameter name.
            condition: Terra's t, or LoRWeB's embedded analogy [width]. A LoRA needs none.
            scale: Factor on the update, on top of alpha / rank.
        """
        factors: Factors = {}
        for name in sorted(key.removesuffix(".up") for key in tensors if key.endswith(".up")):
            up = scale * spec.alpha / spec.rank * tensors[f"{name}.up"].flatten(1)
            factors[name] = tensors[f"{name}.down"], cls._conditioned(spec, tensors, name, up, condition)
        return factors

    @classmethod
    def _conditioned(
        cls,
        spec: AdapterSpec,
        tensors: dict[str, Tensor],
        name: str,
        up: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        """Return B [out, r] of the layer `name` as it is at `condition`."""
        return up


def read_adapter(path: Path) -> tuple[AdapterSpec, dict[str, Tensor]]:
    """Return the spec and the tensors in a file that `Adapter.save` wrote. No base model is needed.

    Raises:
        UserError: As `saved_spec`, or a tensor holds NaN or infinity.
    """
    spec = saved_spec(path)
    with open_safetensors(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no dict)
    refuse_non_finite(path, tensors)
    return spec, tensors


def saved_spec(path: Path) -> AdapterSpec:
    """Return the spec in a file that `Adapter.save` wrote.

    Raises:
        UserError: The file is no safetensors file, holds no spec that this version knows, or tensors of
            other shapes than the spec's.
    """
    with open_safetensors(path) as file:
        metadata = file.metadata() or {}
        names: list[str] = file.keys()
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    type_name = _saved_type(path, metadata)
    try:
        spec = AdapterSpec.model_validate_json(metadata[type_name])
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "its spec"
        raise UserError(f"{path}: {field} is {first['input']!r}, but: {first['msg']}") from error
    check_shapes(path, shapes, adapter_class(type_name).part_shapes(spec))
    return spec


def saved_class(path: Path) -> "type[Adapter]":
    """Return the class of the adapter in a file that `Adapter.save` wrote.

    Raises:
        UserError: The file is no safetensors file, or holds no adapter.
    """
    with open_safetensors(path) as file:
        return adapter_class(_saved_type(path, file.metadata() or {}))


def _saved_type(path: Path, metadata: dict[str, str]) -> str:
    """Return the type of adapter that a file's metadata names."""
    name = next((name for name in saved_types() if name in metadata), None)
    if name is None:
        raise UserError(f"{path} is not an adapter of this project: its metadata holds no spec")
    return name


def matching_layers(denoiser: nn.Module, spec: AdapterSpec) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the layers of `denoiser` that `spec` names, by name.

    Raises:
        UserError: There are none, or one of them cannot be adapted.
    """
    types = tuple(LAYER_TYPES[name] for name in spec.layers)
    candidates = {
        name: layer
        for name, layer in denoiser.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and isinstance(layer, types)
    }
    found = {name: candidates[name] for name in matching_names(spec.include, tuple(candidates))}
    if not found:
        raise UserError(
            f"adapter: no {' or '.join(spec.layers)} layer of the base model matches {spec.include!r}"
        )
    for name, layer in found.items():
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            raise UserError(f"adapter: layer {name} is a grouped convolution, which cannot be adapted")
    return found


def layer_generator(seed: int, name: str) -> torch.Generator:
    """Return the generator of a layer's initial weights: adapters with one seed start from the same A."""
    return torch.Generator().manual_seed(derive(seed, "terra", name))


def first_down(base: nn.Linear | nn.Conv2d, spec: AdapterSpec, generator: torch.Generator) -> Tensor:
    """Draw the initial A, [width, in] or [width, in, k, k], as `spec.first_down` says."""
    weight, shape = base.weight, (spec.width, *base.weight.shape[1:])
    if spec.first_down == "rank" and not spec.has_analogy:
        return (torch.randn(shape, generator=generator) / spec.rank).to(weight.device)
    inputs = math.prod(shape[1:]) * (spec.rank if spec.first_down == "rank" else 1)
    return (torch.empty(shape).uniform_(-1, 1, generator=generator) / math.sqrt(inputs)).to(weight.device)
