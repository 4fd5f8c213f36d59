"""What adapters with layers of their own share. The plain LoRA has none: its layers are peft's."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters.adapter import Adapter, matching_layers


class AdaptedLayer(nn.Module, ABC):
    """A frozen Linear or Conv2d with a low-rank update beside it, or merged into its weight."""

    def __init__(self, base: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.base = base
        self._base_weight: Tensor | None = None

    @property
    def in_features(self) -> int:
        """Input features of a Linear base layer. Stock SDXL pipelines read them from the size embedding."""
        return self.base.in_features  # type: ignore[return-value] # of a Linear, an int

    @property
    def merged(self) -> bool:
        """Whether the update is part of the base weight."""
        return self._base_weight is not None

    def _into_rank(self, x: Tensor, down: Tensor) -> Tensor:
        """Return A x, [n, ..., rank] or [n, rank, h, w], with the stride and padding of the base layer."""
        base = self.base
        if isinstance(base, nn.Linear):
            return F.linear(x, down)
        return F.conv2d(x, down, None, base.stride, base.padding, base.dilation)

    @abstractmethod
    def _low_rank(self, x: Tensor) -> Tensor:
        """Return the update's output, with the shape of the base layer's output."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the base layer's output plus the update's, or the merged layer's output."""
        if self.merged:
            return self.base(x)
        return self.base(x).add_(self._low_rank(x))

    @torch.no_grad()
    def merge(self, update: Tensor) -> None:
        """Set the weight to the base weight plus `update`, and keep the base weight for `unmerge`."""
        if self._base_weight is None:
            self._base_weight = self.base.weight.detach().clone()
        torch.add(self._base_weight, update, out=self.base.weight)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Restore the base weight bit for bit."""
        if self._base_weight is not None:
            self.base.weight.copy_(self._base_weight)
            self._base_weight = None


Layer = TypeVar("Layer", bound=AdaptedLayer)


class LayeredAdapter(Adapter, Generic[Layer]):
    """An adapter that replaces layers of a denoiser by its own, and freezes everything else.

    Attributes:
        parts: Names of the trainable parameters of a layer.
        state: What all layers of one denoiser share: the condition and the scale.
        layers: The adapted layers by name.
    """

    parts: tuple[str, ...]
    state: Any

    def __init__(self, spec: AdapterSpec) -> None:
        self.spec, self.factor = spec, spec.alpha / spec.rank
        self.layers: dict[str, Layer] = {}

    def _wrap(self, denoiser: nn.Module, make: Callable[[str, nn.Linear | nn.Conv2d], Layer]) -> None:
        """Replace each layer that `spec` names by `make(name, layer)`.

        Raises:
            UserError: No layer matches, or one that matches cannot be adapted.
        """
        denoiser.requires_grad_(False)
        for name, base in matching_layers(denoiser, self.spec).items():
            self.layers[name] = make(name, base)
            parent, _, child = name.rpartition(".")
            setattr(denoiser.get_submodule(parent), child, self.layers[name])

    def set_scale(self, scale: float) -> None:
        """Set the factor on the update, on top of alpha / rank."""
        self.scale, self.state.scale = scale, scale * self.factor

    def unmerge(self) -> None:
        """Restore the base weights bit for bit."""
        for layer in self.layers.values():
            layer.unmerge()

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Return all trainable parameters as `<layer>.<part>`."""
        layers = self.layers.items()
        return {f"{name}.{part}": getattr(layer, part) for name, layer in layers for part in self.parts}
