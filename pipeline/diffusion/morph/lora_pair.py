"""Two LoRAs in one adapter, interpolated for each sample: dW(t) = (1 - t) dW_X + t dW_Y.

DiffMorpher's paper interpolates so. Its code interpolates the factors: dW(t) = B(t) A(t), with A(t) = (1 - t)
A_X + t A_Y and B(t) likewise. Both are the LoRA of X at t = 0 and that of Y at t = 1.
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters.adapter import Condition, first_down, layer_generator
from pipeline.diffusion.adapters.file_shapes import PartShapes
from pipeline.diffusion.adapters.layers import AdaptedLayer, LayeredAdapter
from pipeline.diffusion.adapters.registry import register
from pipeline.diffusion.adapters.terra.forms import as_time, one_time

Blend = Literal["update", "factors"]


class PairState:
    """What all layers of one denoiser share: t, [1] or [n, 1], the factor on the update, and the blend."""

    def __init__(self, scale: float, blend: Blend = "update") -> None:
        self.t, self.scale, self.blend = torch.zeros(1), scale, blend


def _shares(t: Tensor, rank: int) -> Tensor:
    """Return the share of its LoRA for each row of A: [2 r] for t [1], [n, 2 r] for t [n, 1]."""
    return torch.cat([1 - t, t], dim=-1).repeat_interleave(rank, dim=-1)


class LoraPairLayer(AdaptedLayer):
    """A frozen Linear or Conv2d with two LoRAs beside it.

    Args:
        base: The layer, with weight [out, in] or [out, in, k, k].
        rank: The rank r of each LoRA.
        state: What all layers share.
        first: The initial A of both LoRAs, [r, in] or [r, in, k, k].

    Attributes:
        down: A_X above A_Y, [2 r, in] or [2 r, in, k, k].
        up: B_X beside B_Y, [out, 2 r]; both start at zero.
    """

    def __init__(self, base: nn.Linear | nn.Conv2d, rank: int, state: PairState, first: Tensor) -> None:
        super().__init__(base)
        self.rank, self.state = rank, state
        self.down = nn.Parameter(torch.cat([first, first]))
        self.up = nn.Parameter(torch.zeros(len(base.weight), 2 * rank, device=base.weight.device))

    def _shares(self, t: Tensor) -> Tensor:
        """Return the factor of each row of A: [2 r] for t [1], [n, 2 r] for t [n, 1]."""
        return _shares(t, self.rank) * self.state.scale

    def _low_rank(self, x: Tensor) -> Tensor:
        shares = self._shares(self.state.t.to(x))
        hidden = self._into_rank(x, self.down)
        if isinstance(self.base, nn.Linear):
            shares, ranks = shares.reshape(*shares.shape[:-1], *[1] * (x.ndim - 2), -1), -1
            return F.linear(self._blended(hidden, shares, ranks), self.up)
        return F.conv2d(self._blended(hidden, shares[..., None, None], -3), self.up[:, :, None, None])

    def _blended(self, hidden: Tensor, shares: Tensor, ranks: int) -> Tensor:
        """Multiply A x by the shares of both LoRAs; with blended factors, first add its halves up.

        Args:
            hidden: A x, whose dimension `ranks` has 2 r numbers.
            shares: Broadcasts against `hidden`.
            ranks: A dimension, counted from the last.
        """
        if self.state.blend == "factors":
            halves = (hidden * shares / self.state.scale).chunk(2, dim=ranks)
            hidden = torch.cat([halves[0] + halves[1]] * 2, dim=ranks)
        return hidden * shares

    def delta(self, t: Tensor) -> Tensor:
        """Return dW(t) for one t, [1], in the shape of the base layer's weight."""
        up, down = pair_at(self.up, self.down.flatten(1), t, self.rank, self.state.blend)
        return (self.state.scale * up @ down).reshape(self.base.weight.shape)


def pair_at(up: Tensor, down: Tensor, t: Tensor, rank: int, blend: Blend) -> tuple[Tensor, Tensor]:
    """Return B and A of the interpolation of two LoRAs at one t, [1].

    Args:
        up: B_X beside B_Y, [out, 2 r].
        down: A_X above A_Y, [2 r, in].
        t: [1].
        rank: The rank r.
        blend: What is interpolated: the update, which gives rank 2 r, or the factors, which give rank r.
    """
    shares = _shares(t, rank)
    if blend == "update":
        return up * shares, down
    up_x, up_y = (up * shares).chunk(2, dim=1)
    down_x, down_y = (down * shares[:, None]).chunk(2)
    return up_x + up_y, down_x + down_y


@register("lora_pair")
class LoraPair(LayeredAdapter):
    """The LoRA of X at t = 0, that of Y at t = 1, and their interpolation between (DiffMorpher, equation 5).

    A file holds both LoRAs, and not how they are blended; its export at t interpolates the updates.

    In fine-tuning each image is at its own endpoint, so that the two LoRAs learn independently. Both start
    from the same A, which is drawn like that of a Terra with the same seed.

    Args:
        denoiser: The denoiser, whose layers are wrapped in place.
        spec: The rank and the layers.
        seed: The seed of A.
        blend: What is interpolated.
    """

    parts = ("down", "up")
    saved_as = "lora_pair"
    layers: dict[str, LoraPairLayer]

    def __init__(self, denoiser: nn.Module, spec: AdapterSpec, seed: int, blend: Blend = "update") -> None:
        super().__init__(spec)
        self.state = PairState(self.factor, blend)

        def wrapped(name: str, base: nn.Linear | nn.Conv2d) -> LoraPairLayer:
            first = first_down(base, spec, layer_generator(seed, name))
            return LoraPairLayer(base, spec.rank, self.state, first)

        self._wrap(denoiser, wrapped)

    def set_condition(self, condition: Condition) -> None:
        """Set the position between X (0) and Y (1): a number, or one per sample of the next batches, [n]."""
        self.state.t = as_time(self.spec, condition)

    def remerge(self, condition: Condition) -> None:
        """Make the weights the base weights plus dW(t), at one t for all samples."""
        for layer in self.layers.values():
            layer.merge(layer.delta(one_time(self.spec, condition, layer.up.dtype)))

    def parameter_groups(self, learning_rate: float, middle_factor: float) -> list[dict]:
        """Return the one parameter group of an optimizer; LoRAs have no middle matrix."""
        return [{"params": list(self.parameters()), "lr": learning_rate}]

    @classmethod
    def part_shapes(cls, spec: AdapterSpec) -> PartShapes:
        """Return the shapes of both A and of both B of a layer."""
        return {"down": (2 * spec.rank, None), "up": (None, 2 * spec.rank)}

    @classmethod
    def check_exportable(cls, path: Path, t: list[float] | None) -> None:
        """Raise a UserError if `t` is None: two LoRAs are another LoRA at every t."""
        if t is None:
            raise UserError(
                f"{path} holds the two LoRAs of a morph, which are another LoRA at every t between 0 and 1; "
                "say which, such as --t 0.5"
            )

    @classmethod
    def _conditioned(
        cls,
        spec: AdapterSpec,
        tensors: dict[str, Tensor],
        name: str,
        up: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        """Return B_X and B_Y, each with its share of the update at t."""
        assert condition is not None, "two LoRAs depend on a time t"
        return up * _shares(one_time(spec, condition, up.dtype), spec.rank)
