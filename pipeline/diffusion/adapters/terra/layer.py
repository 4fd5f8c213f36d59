"""One adapted layer: dW(t) = scale * B K(t) A."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters.adapter import Condition, first_down
from pipeline.diffusion.adapters.layers import AdaptedLayer
from pipeline.diffusion.adapters.terra import forms


@dataclass
class TerraState:
    """What all adapted layers of one model share.

    t: [t_dim] or [n, t_dim]. scale: the factor on the update. middles: K(t) of every layer, for the batch in hand.
    """

    t: Tensor = field(default_factory=lambda: torch.zeros(1))
    scale: float = 1.0
    middles: tuple[Tensor, ...] = ()


class TerraLayer(AdaptedLayer):
    """A frozen Linear or Conv2d with the low-rank update B K(t) A beside it.

    Shapes for a Linear in -> out: `down` (A) [r, in], `up` (B) [out, r]; `middle`, the weights of K(t), is as
    forms.py says. For a Conv2d, A has the kernel, stride and padding of the base layer, and K and B are 1x1, so that
    the update is again one kernel. B starts at zero: the adapted layer starts as the base layer.

    The batch, for which the state may hold a t for each sample, is the first dimension of the input.
    """

    def __init__(
        self,
        base: nn.Linear | nn.Conv2d,
        spec: AdapterSpec,
        state: TerraState,
        index: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(base)
        self.state, self.spec, self.index = state, spec, index
        weight = base.weight
        self.channels = 1 if isinstance(base, nn.Conv2d) else -1
        self.down = nn.Parameter(first_down(base, spec.rank, generator))
        self.middle = nn.Parameter(forms.first_weights(spec, generator).to(weight.device))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], spec.rank, device=weight.device))

    def _mixed(self, hidden: Tensor, matrix: Tensor) -> Tensor:
        """A matrix [out, r], or one for each sample [n, out, r], times the channels of hidden [n, ..., r] or [n, r, h, w]."""
        if matrix.ndim == 2:
            return (
                F.linear(hidden, matrix)
                if self.channels == -1
                else F.conv2d(hidden, matrix[:, :, None, None])
            )
        if self.channels == -1:
            rows = hidden.reshape(len(hidden), -1, hidden.shape[-1])
            return (rows @ matrix.mT).reshape(*hidden.shape[:-1], -1)
        return (matrix @ hidden.flatten(2)).unflatten(2, hidden.shape[2:])

    def _shifted(self, hidden: Tensor) -> Tensor:
        """Hidden + t W hidden: each W_d once for all samples, so that any number of different t costs no more than one."""
        shifted = hidden
        weights = (self.middle,) if self.spec.t_dim == 1 else self.middle.unbind()
        for t_d, w_d in zip(self.state.t.unbind(-1), weights, strict=True):
            at = t_d.to(self.middle).reshape(-1, *[1] * (hidden.ndim - 1))
            shifted = torch.addcmul(shifted, at, self._mixed(hidden, w_d))
        return shifted

    def _scaled(self, hidden: Tensor, k: Tensor) -> Tensor:
        """Every channel times its number of the diagonal k, [r] or [n, r]."""
        behind = (1, 1) if self.channels == 1 else ()
        between = [1] * (hidden.ndim - 2 - len(behind))
        return hidden * k.reshape(-1, *between, self.spec.rank, *behind)

    def _low_rank(self, x: Tensor) -> Tensor:
        """Scale * B K(t) A x, every sample's at its own t."""
        state = self.state
        if state.t.ndim == 2 and len(state.t) != len(x):
            raise UserError(
                f"set_condition was given {len(state.t)} times, but the batch has {len(x)} samples"
            )
        hidden = self._into_rank(x, self.down)
        up = self.up if state.scale == 1 else self.up * state.scale
        if not forms.has_middle(self.spec):
            return self._mixed(self._shifted(hidden), up)
        k = state.middles[self.index]
        if self.spec.diagonal:
            return self._mixed(self._scaled(hidden, k), up)
        return self._mixed(hidden, up @ k)  # K is small beside the hidden: to B, it costs next to nothing

    def delta(self, t: Condition) -> Tensor:
        """dW(t), one t, of the shape of the base layer's weight."""
        middle = forms.matrix(self.spec, self.middle, forms.one_time(self.spec, t, self.middle.dtype))
        product = self.state.scale * (self.up @ middle @ self.down.flatten(1))
        return product.reshape(self.base.weight.shape)
