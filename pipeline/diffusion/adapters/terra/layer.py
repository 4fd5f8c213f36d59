"""One adapted layer: dW(t) = scale * B K(t) A with K(t) = I + t W."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class TerraState:
    """What all adapted layers of one model share: the time of each sample, and the factor on the update."""

    t: Tensor = field(default_factory=lambda: torch.zeros(()))
    scale: float = 1.0


class TerraLayer(nn.Module):
    """A frozen Linear or Conv2d with the low-rank update B (I + t W) A beside it.

    Shapes for a Linear in -> out: `down` (A) [r, in], `middle` (W) [r, r], `up` (B) [out, r]. For a Conv2d, A has
    the kernel, stride and padding of the base layer, and W and B are 1x1, so that the update is again one kernel.
    B and W start at zero: the adapted layer starts as the base layer, and at t = 0 it is a LoRA.

    The time in the shared state is a number, or one for each sample of the batch, [n]; the batch is the first
    dimension of the input.
    """

    def __init__(
        self, base: nn.Linear | nn.Conv2d, rank: int, state: TerraState, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.base, self.state, self.rank = base, state, rank
        weight = base.weight
        down = torch.empty(rank, *weight.shape[1:]).uniform_(-1, 1, generator=generator)
        fan_in = math.prod(weight.shape[1:])
        self.down = nn.Parameter((down / math.sqrt(fan_in)).to(weight.device))
        self.middle = nn.Parameter(torch.zeros(rank, rank, device=weight.device))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))
        self._base_weight: Tensor | None = None

    def _low_rank(self, x: Tensor) -> Tensor:
        if isinstance(self.base, nn.Linear):
            hidden = F.linear(x, self.down)
            turned = F.linear(hidden, self.middle)
        else:
            base = self.base
            hidden = F.conv2d(x, self.down, None, base.stride, base.padding, base.dilation)
            turned = F.conv2d(hidden, self.middle[:, :, None, None])
        t = self.state.t
        if t.ndim:
            t = t.reshape(-1, *[1] * (hidden.ndim - 1))
        hidden = hidden + t * turned
        up = self.up * self.state.scale
        return (
            F.linear(hidden, up)
            if isinstance(self.base, nn.Linear)
            else F.conv2d(hidden, up[:, :, None, None])
        )

    def forward(self, x: Tensor) -> Tensor:
        """The base layer's output plus the update's, or the merged layer's output."""
        if self._base_weight is not None:
            return self.base(x)
        return self.base(x) + self._low_rank(x)

    def delta(self, t: float) -> Tensor:
        """dW(t), of the shape of the base layer's weight."""
        middle = torch.eye(self.rank, device=self.middle.device) + t * self.middle
        product = self.state.scale * (self.up @ middle @ self.down.flatten(1))
        return product.reshape(self.base.weight.shape)

    @torch.no_grad()
    def merge(self, t: float) -> None:
        """Add dW(t) to the base weight, whose old values are kept."""
        self._base_weight = self.base.weight.detach().clone()
        self.base.weight += self.delta(t)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the kept base weight back, bit for bit."""
        if self._base_weight is not None:
            self.base.weight.copy_(self._base_weight)
            self._base_weight = None
