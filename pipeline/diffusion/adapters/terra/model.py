"""Terra on a whole denoiser: which layers it wraps, its time, merging, saving."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters.terra.layer import TerraLayer, TerraState
from pipeline.errors import UserError
from pipeline.seeds import derive
from pipeline.store import write_atomic

LAYER_TYPES = {"Linear": nn.Linear, "Conv2d": nn.Conv2d}


class TerraAdapter:
    """Wraps, in place, the layers of `denoiser` that `spec` names, and freezes everything else.

    Several states are possible: adapted (each sample at its own t, set by `set_t`) and merged (one t for all,
    inside the base weights, at the base model's cost).
    """

    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> None:
        self.spec = spec
        self.factor = spec.alpha / spec.rank
        self.state = TerraState(scale=self.factor)
        self.layers: dict[str, TerraLayer] = {}
        denoiser.requires_grad_(False)
        types = tuple(LAYER_TYPES[name] for name in spec.layers)
        pattern = re.compile(spec.include)
        for name, layer in list(denoiser.named_modules()):
            if isinstance(layer, types) and pattern.fullmatch(name):
                if isinstance(layer, nn.Conv2d) and layer.groups != 1:
                    raise UserError(f"adapter: layer {name} is a grouped convolution, which Terra can't wrap")
                generator = torch.Generator().manual_seed(derive(seed, "terra", name))
                wrapped = TerraLayer(layer, spec.rank, self.state, generator)
                parent, _, child = name.rpartition(".")
                setattr(denoiser.get_submodule(parent), child, wrapped)
                self.layers[name] = wrapped
        if not self.layers:
            raise UserError(
                f"adapter: no {' or '.join(spec.layers)} layer of the base model matches {spec.include!r}"
            )

    def set_t(self, t: float | Tensor) -> None:
        """The time: a number, or one for each sample of the batches to come, shape [n]."""
        self.state.t = torch.as_tensor(t, dtype=torch.float32)

    def set_scale(self, scale: float) -> None:
        """A factor on the update, on top of alpha / rank."""
        self.state.scale = scale * self.factor

    def merge(self, t: float) -> None:
        """Put dW(t) into the base weights."""
        self.unmerge()
        for layer in self.layers.values():
            layer.merge(t)

    def unmerge(self) -> None:
        """Restore the base weights bit for bit."""
        for layer in self.layers.values():
            layer.unmerge()

    def parameters(self) -> Iterator[nn.Parameter]:
        """Everything that learns."""
        for layer in self.layers.values():
            yield from (layer.down, layer.middle, layer.up)

    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict]:
        """For an optimiser: A and B at `learning_rate`, W at `middle_factor` times that."""
        outer = [p for layer in self.layers.values() for p in (layer.down, layer.up)]
        middle = [layer.middle for layer in self.layers.values()]
        return [
            {"params": outer, "lr": learning_rate},
            {"params": middle, "lr": learning_rate * middle_factor},
        ]

    def tensors(self) -> dict[str, Tensor]:
        """The learned tensors by name: `<layer>.down`, `.middle`, `.up`."""
        return {
            f"{name}.{part}": getattr(layer, part).detach().contiguous()
            for name, layer in self.layers.items()
            for part in ("down", "middle", "up")
        }

    def save(self, path: Path) -> None:
        """Write the learned tensors with the configuration inside, as safetensors."""
        write_atomic(path, save(self.tensors(), metadata={"terra": json.dumps(self.spec.model_dump())}))

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Read what `save` wrote; UserError that names both sides if it does not fit this model."""
        saved = saved_spec(path)
        if saved != self.spec:
            raise UserError(f"{path} holds an adapter of {saved}, but the model was given {self.spec}")
        with safe_open(path, "pt") as file:
            own = self.tensors()
            if set(file.keys()) != set(own):
                odd = min(set(file.keys()) ^ set(own))
                raise UserError(f"{path} does not fit this base model: {odd} is on one side only")
            for name, tensor in own.items():
                held = file.get_tensor(name)
                if held.shape != tensor.shape:
                    raise UserError(
                        f"{path}: {name} is {list(held.shape)}, the base model needs {list(tensor.shape)}"
                    )
                tensor.copy_(held)


def saved_spec(path: Path) -> AdapterSpec:
    """The configuration inside an adapter that `TerraAdapter.save` wrote."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    if "terra" not in metadata:
        raise UserError(f"{path} is not a Terra adapter: it holds no configuration")
    return AdapterSpec.model_validate_json(metadata["terra"])
