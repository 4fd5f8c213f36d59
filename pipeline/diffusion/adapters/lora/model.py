"""A plain LoRA on a whole denoiser. Its layers are peft's own."""

import re

import torch
from torch import Tensor, nn

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters.adapter import (
    Adapter,
    Condition,
    first_down,
    layer_generator,
    matching_layers,
)

NAME = "default"
"""What peft calls the one adapter of a layer."""


class LoraAdapter(Adapter):
    """dW = alpha / rank * B A at every t. A is drawn as a Terra's of the same seed, B starts at zero.

    UserError if no layer matches, or one that does can't be wrapped.
    """

    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        self.spec = spec
        self.factor = spec.alpha / spec.rank
        self._base_weights: dict[str, Tensor] = {}
        found = matching_layers(denoiser, spec)
        denoiser.requires_grad_(False)
        names = "|".join(map(re.escape, found))
        config = LoraConfig(r=spec.rank, lora_alpha=spec.alpha, target_modules=names)
        inject_adapter_in_model(config, denoiser, NAME)
        self.layers = {name: denoiser.get_submodule(name) for name in found}
        with torch.no_grad():
            for name, base in found.items():  # peft draws from the global generator: not from this seed
                for part in (self.layers[name].lora_A, self.layers[name].lora_B):
                    part[NAME].float()  # an adapter of a model in half precision learns in float32
                drawn = first_down(base, spec.rank, layer_generator(seed, name))
                self.layers[name].lora_A[NAME].weight.copy_(drawn)

    def set_condition(self, condition: Condition) -> None:
        """Nothing: a LoRA depends on none."""

    def set_scale(self, scale: float) -> None:
        """A factor on the update, on top of alpha / rank."""
        self.scale = scale
        for layer in self.layers.values():
            layer.scaling[NAME] = scale * self.factor

    def merge(self, condition: Condition = 0.0) -> None:
        """Put dW, which no condition changes, into the base weights."""
        self.unmerge()
        for name, layer in self.layers.items():
            self._base_weights[name] = layer.base_layer.weight.detach().clone()
            layer.merge()

    @torch.no_grad()
    def unmerge(self) -> None:
        """Restore the base weights bit for bit: peft takes dW away again, which rounds."""
        for name, weight in self._base_weights.items():
            self.layers[name].unmerge()
            self.layers[name].base_layer.weight.copy_(weight)
        self._base_weights.clear()

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Everything that learns: `<layer>.down` [r, in, ...], `<layer>.up` [out, r], of a Conv2d [out, r, 1, 1]."""
        parts = {"down": "lora_A", "up": "lora_B"}
        return {
            f"{name}.{part}": getattr(layer, theirs)[NAME].weight
            for name, layer in self.layers.items()
            for part, theirs in parts.items()
        }

    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict]:
        """For an optimiser: one group, for a LoRA has no middle matrix."""
        return [{"params": list(self.parameters()), "lr": learning_rate}]
