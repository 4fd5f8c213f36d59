"""A plain LoRA on a whole denoiser, with peft's layers."""

import re
from typing import Any

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
from pipeline.diffusion.adapters.registry import register

NAME = "default"
"""peft's name of the one adapter of a layer."""


@register("lora")
class LoraAdapter(Adapter):
    """dW = alpha / rank * B A under every condition.

    A is drawn as a Terra's with the same seed; B starts at zero.

    Raises:
        UserError: No layer matches `spec.include`, or one that matches cannot be adapted.
    """

    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        self.spec = spec
        self.factor = spec.alpha / spec.rank
        self._base_weights: dict[str, Tensor] = {}
        found = matching_layers(denoiser, spec)
        denoiser.requires_grad_(False)
        names = "|".join(map(re.escape, found))
        config = LoraConfig(r=spec.rank, lora_alpha=spec.alpha, target_modules=names)  # type: ignore[arg-type]
        inject_adapter_in_model(config, denoiser, NAME)
        self.layers: dict[str, Any] = {name: denoiser.get_submodule(name) for name in found}
        with torch.no_grad():
            for name, base in found.items():
                for part in (self.layers[name].lora_A, self.layers[name].lora_B):
                    part[NAME].float()  # the adapter of a model in half precision is trained in float32
                # peft drew A from the global generator; draw it from `seed` instead.
                down = first_down(base, spec, layer_generator(seed, name))
                self.layers[name].lora_A[NAME].weight.copy_(down)

    def set_condition(self, condition: Condition) -> None:
        """Do nothing: a LoRA depends on no condition."""

    def set_scale(self, scale: float) -> None:
        """Set the factor on the update, on top of alpha / rank."""
        self.scale = scale
        for layer in self.layers.values():
            layer.scaling[NAME] = scale * self.factor

    def remerge(self, condition: Condition = 0.0) -> None:
        """Add dW, which depends on no condition, to the base weights."""
        self.unmerge()
        for name, layer in self.layers.items():
            self._base_weights[name] = layer.base_layer.weight.detach().clone()
            layer.merge()

    @torch.no_grad()
    def unmerge(self) -> None:
        """Restore the base weights bit for bit. peft alone would subtract dW, which rounds."""
        for name, weight in self._base_weights.items():
            self.layers[name].unmerge()
            self.layers[name].base_layer.weight.copy_(weight)
        self._base_weights.clear()

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Return `<layer>.down` [r, in, ...] and `<layer>.up`, [out, r] or of a Conv2d [out, r, 1, 1]."""
        parts = {"down": "lora_A", "up": "lora_B"}
        return {
            f"{name}.{part}": getattr(layer, attribute)[NAME].weight
            for name, layer in self.layers.items()
            for part, attribute in parts.items()
        }

    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict[str, Any]]:
        """Return one group for an optimizer: a LoRA has no middle matrix."""
        return [{"params": list(self.parameters()), "lr": learning_rate}]
