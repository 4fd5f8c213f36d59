"""One layer adapted by Terra: dW(t) = scale * B K(t) A."""

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
    """What all adapted layers of one denoiser share.

    Attributes:
        t: [t_dim], or [n, t_dim] for a batch of n samples.
        scale: Factor on the update.
        middles: K(t) of every layer for the current batch.
    """

    t: Tensor = field(default_factory=lambda: torch.zeros(1))
    scale: float = 1.0
    middles: tuple[Tensor, ...] = ()


class TerraLayer(AdaptedLayer):
    """A frozen Linear or Conv2d with the low-rank update B K(t) A beside it.

    Shapes for a Linear in -> out: `down` (A) [r, in], `up` (B) [out, r]; `middle` holds the weights of K(t)
    (see forms.py). For a Conv2d, A has the kernel, stride and padding of the base layer, and K and B are 1x1,
    so that the update is again one kernel. B starts at zero, so that the adapted layer starts as the base
    layer.

    The first dimension of the input is the batch; the state may hold one t for each of its samples.
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
        self.down = nn.Parameter(first_down(base, spec, generator))
        self.middle = nn.Parameter(forms.first_weights(spec, generator).to(weight.device))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], spec.rank, device=weight.device))

    def _apply_matrix(self, hidden: Tensor, matrix: Tensor) -> Tensor:
        """Multiply the channels of `hidden` by a matrix.

        Args:
            hidden: [n, ..., r], or [n, r, h, w].
            matrix: [out, r], or one for each sample, [n, out, r].
        """
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

    def _apply_linear_form(self, hidden: Tensor) -> Tensor:
        """Return hidden + sum_d t_d W_d hidden.

        Each W_d is applied once to all samples, so that many different t cost no more than one.
        """
        result = hidden
        weights = (self.middle,) if self.spec.t_dim == 1 else self.middle.unbind()
        for t_d, w_d in zip(self.state.t.unbind(-1), weights, strict=True):
            factor = t_d.to(self.middle).reshape(-1, *[1] * (hidden.ndim - 1))
            result = torch.addcmul(result, factor, self._apply_matrix(hidden, w_d))
        return result

    def _apply_diagonal(self, hidden: Tensor, k: Tensor) -> Tensor:
        """Multiply the channels of `hidden` by the diagonal `k`, [r] or [n, r]."""
        trailing = (1, 1) if self.channels == 1 else ()
        middle = [1] * (hidden.ndim - 2 - len(trailing))
        return hidden * k.reshape(-1, *middle, self.spec.rank, *trailing)

    def _low_rank(self, x: Tensor) -> Tensor:
        """Return scale * B K(t) A x, each sample at its own t."""
        state = self.state
        if state.t.ndim == 2 and len(state.t) != len(x):
            raise UserError(
                f"set_condition was given {len(state.t)} times, but the batch has {len(x)} samples"
            )
        hidden = self._into_rank(x, self.down)
        up = self.up if state.scale == 1 else self.up * state.scale
        if not forms.has_middle(self.spec):
            return self._apply_matrix(self._apply_linear_form(hidden), up)
        k = state.middles[self.index]
        if self.spec.diagonal:
            return self._apply_matrix(self._apply_diagonal(hidden, k), up)
        # K is much smaller than `hidden`: multiplying it into B costs next to nothing.
        return self._apply_matrix(hidden, up @ k)

    def delta(self, t: Condition) -> Tensor:
        """Return dW at one t, with the shape of the base weight."""
        middle = forms.matrix(self.spec, self.middle, forms.one_time(self.spec, t, self.middle.dtype))
        product = self.state.scale * (self.up @ middle @ self.down.flatten(1))
        return product.reshape(self.base.weight.shape)
