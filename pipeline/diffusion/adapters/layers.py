"""What adapters with layers of their own have in common: all but `lora`, whose layers are peft's."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters.adapter import Adapter, matching_layers


class AdaptedLayer(nn.Module, ABC):
    """A frozen Linear or Conv2d with a low-rank update beside it, or inside its weight where it is merged."""

    def __init__(self, base: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.base = base
        self._base_weight: Tensor | None = None

    @property
    def in_features(self) -> int:
        """Of the base layer, a Linear: stock pipelines of SDXL ask the embedding of sizes for it."""
        return self.base.in_features

    @property
    def merged(self) -> bool:
        """Whether the update is inside the base weight."""
        return self._base_weight is not None

    def _into_rank(self, x: Tensor, down: Tensor) -> Tensor:
        """A x: [n, ..., rank], or [n, rank, h, w], for which A has the stride and padding of the base layer."""
        base = self.base
        if isinstance(base, nn.Linear):
            return F.linear(x, down)
        return F.conv2d(x, down, None, base.stride, base.padding, base.dilation)

    @abstractmethod
    def _low_rank(self, x: Tensor) -> Tensor:
        """The update's output, of the shape of the base layer's."""

    def forward(self, x: Tensor) -> Tensor:
        """The base layer's output plus the update's, or the merged layer's output."""
        if self.merged:
            return self.base(x)
        return self.base(x).add_(self._low_rank(x))

    @torch.no_grad()
    def merge(self, update: Tensor) -> None:
        """Add dW, of the shape of the base layer's weight, to that weight, whose old values are kept."""
        self._base_weight = self.base.weight.detach().clone()
        self.base.weight += update

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the kept base weight back, bit for bit."""
        if self._base_weight is not None:
            self.base.weight.copy_(self._base_weight)
            self._base_weight = None


class LayeredAdapter(Adapter):
    """Wraps layers of a denoiser in its own, and freezes everything else. `state` is what the layers share."""

    parts: tuple[str, ...]
    """The names of what a layer learns."""
    state: Any

    def __init__(self, spec: AdapterSpec) -> None:
        self.spec, self.factor = spec, spec.alpha / spec.rank
        self.layers: dict[str, AdaptedLayer] = {}

    def _wrap(self, denoiser: nn.Module, make: Callable[[str, nn.Linear | nn.Conv2d], AdaptedLayer]) -> None:
        """Put what `make` gives for its name and itself in the place of each layer that `spec` names.

        UserError if no layer matches, or one that does can't be wrapped.
        """
        denoiser.requires_grad_(False)
        for name, base in matching_layers(denoiser, self.spec).items():
            self.layers[name] = make(name, base)
            parent, _, child = name.rpartition(".")
            setattr(denoiser.get_submodule(parent), child, self.layers[name])

    def set_scale(self, scale: float) -> None:
        """A factor on the update, on top of alpha / rank."""
        self.scale, self.state.scale = scale, scale * self.factor

    def unmerge(self) -> None:
        """Restore the base weights bit for bit."""
        for layer in self.layers.values():
            layer.unmerge()

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Everything that learns: `<layer>.<part>`."""
        layers = self.layers.items()
        return {f"{name}.{part}": getattr(layer, part) for name, layer in layers for part in self.parts}
