"""Two LoRAs, of which each sample has its own blend: dW(t) = (1 - t) dW_X + t dW_Y."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters.adapter import (
    Adapter,
    Condition,
    Time,
    first_down,
    layer_generator,
    matching_layers,
)
from pipeline.diffusion.adapters.terra.forms import as_time, one_time


class PairState:
    """What all layers of one model share: t, [1] or [n, 1], and the factor on the update."""

    def __init__(self, scale: float) -> None:
        self.t, self.scale = torch.zeros(1), scale


class LoraPairLayer(nn.Module):
    """A frozen Linear or Conv2d with two LoRAs beside it.

    `down` holds A_X over A_Y, [2 r, in], with the kernel of a Conv2d; `up` holds B_X beside B_Y, [out, 2 r]. Both B
    start at zero.
    """

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int, state: PairState, first: Tensor) -> None:
        super().__init__()
        self.base, self.rank, self.state = base, rank, state
        self.down = nn.Parameter(torch.cat([first, first]))
        self.up = nn.Parameter(torch.zeros(len(base.weight), 2 * rank, device=base.weight.device))
        self._base_weight: Tensor | None = None

    @property
    def in_features(self) -> int:
        """Of the base layer, a Linear: stock pipelines of SDXL ask the embedding of sizes for it."""
        return self.base.in_features

    def _shares(self, t: Tensor) -> Tensor:
        """How much each row of A counts: [2 r], or [n, 2 r]."""
        return torch.cat([1 - t, t], dim=-1).repeat_interleave(self.rank, dim=-1) * self.state.scale

    def _low_rank(self, x: Tensor) -> Tensor:
        shares = self._shares(self.state.t.to(x))
        if isinstance(self.base, nn.Linear):
            hidden = F.linear(x, self.down)
            blended = hidden * shares.reshape(*shares.shape[:-1], *[1] * (x.ndim - 2), -1)
            return F.linear(blended, self.up)
        base = self.base
        hidden = F.conv2d(x, self.down, None, base.stride, base.padding, base.dilation)
        return F.conv2d(hidden * shares[..., None, None], self.up[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """The base layer's output plus the blend's, or the merged layer's output."""
        return self.base(x) if self._base_weight is not None else self.base(x) + self._low_rank(x)

    @torch.no_grad()
    def merge(self, t: Tensor) -> None:
        """Add dW(t) to the base weight, whose old values are kept."""
        update = (self.up * self._shares(t)) @ self.down.flatten(1)
        self._base_weight = self.base.weight.detach().clone()
        self.base.weight += update.reshape(self.base.weight.shape)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the kept base weight back, bit for bit."""
        if self._base_weight is not None:
            self.base.weight.copy_(self._base_weight)
            self._base_weight = None


class LoraPair(Adapter):
    """The LoRA of X at t = 0, that of Y at t = 1, and in between what DiffMorpher interpolates (its equation 5).

    Where each image stands at its own end, as in tuning, the two learn apart from each other. Both start from the
    same A, drawn as a Terra's of the same seed.
    """

    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> None:
        self.spec, self.factor = spec, spec.alpha / spec.rank
        self.state = PairState(self.factor)
        self.layers: dict[str, LoraPairLayer] = {}
        denoiser.requires_grad_(False)
        for name, base in matching_layers(denoiser, spec).items():
            first = first_down(base, spec.rank, layer_generator(seed, name))
            layer = LoraPairLayer(base, spec.rank, self.state, first)
            parent, _, child = name.rpartition(".")
            setattr(denoiser.get_submodule(parent), child, layer)
            self.layers[name] = layer

    def set_t(self, t: Time) -> None:
        """How far from X to Y: a number, or one for each sample of the batches to come, [n]."""
        self.state.t = as_time(self.spec, t)

    def set_condition(self, condition: Condition) -> None:
        """Its condition is how far."""
        self.set_t(condition)

    def set_scale(self, scale: float) -> None:
        """A factor on the update, on top of alpha / rank."""
        self.scale, self.state.scale = scale, scale * self.factor

    def merge(self, condition: Condition) -> None:
        """Put dW(t), one t for all, into the base weights."""
        self.unmerge()
        for layer in self.layers.values():
            layer.merge(one_time(self.spec, condition, layer.up.dtype))

    def unmerge(self) -> None:
        """Restore the base weights bit for bit."""
        for layer in self.layers.values():
            layer.unmerge()

    def parameters(self) -> Iterator[nn.Parameter]:
        """Everything that learns."""
        for layer in self.layers.values():
            yield from (layer.down, layer.up)

    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict]:
        """For an optimiser: one group, for LoRAs have no middle matrix."""
        return [{"params": list(self.parameters()), "lr": learning_rate}]

    def tensors(self) -> dict[str, Tensor]:
        """The learned tensors by name: `<layer>.down`, `<layer>.up`."""
        return {
            f"{name}.{part}": getattr(layer, part).detach()
            for name, layer in self.layers.items()
            for part in ("down", "up")
        }
