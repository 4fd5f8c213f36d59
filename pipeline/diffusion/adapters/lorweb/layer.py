"""One adapted layer: dW = scale * sum_i w_i B_i A_i, a LoRA of rank N r for each analogy."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import AdapterSpec, AnalogySpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters.adapter import first_down
from pipeline.diffusion.adapters.layers import AdaptedLayer


@dataclass
class LorwebState:
    """What all adapted layers of one model share.

    analogy: embedded, [3 width] or [n, 3 width]; projection: makes a query [key_width] of it; scale: on the update.
    """

    analogy: Tensor
    projection: nn.Linear
    scale: float = 1.0

    def query(self) -> Tensor:
        """[..., key_width], with gradients towards the projection."""
        return self.projection(self.analogy.to(self.projection.weight))


def mixing_weights(spec: AnalogySpec, query: Tensor, keys: Tensor) -> Tensor:
    """The weights [..., N] of a basis with keys [N, key_width], for queries [..., key_width].

    With products p = q . k / sqrt(d), d the width of a head: softmax of p over the basis, the mean over heads; or p
    itself, the sum over heads clamped to [-1, 1].
    """
    parts = spec.heads
    by_head = query.unflatten(-1, (parts, -1)), keys.unflatten(-1, (parts, -1))
    products = torch.einsum("...hd,nhd->...hn", *by_head) / (spec.key_width / parts) ** 0.5
    if spec.mixing == "softmax":
        return products.softmax(-1).mean(-2)
    return products.sum(-2).clamp(-1, 1)


class LorwebLayer(AdaptedLayer):
    """A frozen Linear or Conv2d with a basis of N LoRAs of rank r beside it.

    Shapes for a Linear in -> out: `down` (all A_i) [N r, in], `up` (all B_i) [out, N r], the r rows of one basis LoRA
    next to each other; `keys` [N, key_width]. For a Conv2d, A has the kernel, stride and padding of the base layer. B
    starts at zero: the adapted layer starts as the base layer.

    The state may hold an analogy for each of n samples; a batch of k n samples is then k times these n, as
    classifier-free guidance lines them up.
    """

    def __init__(
        self,
        base: nn.Linear | nn.Conv2d,
        spec: AdapterSpec,
        state: LorwebState,
        generator: torch.Generator,
    ) -> None:
        super().__init__(base)
        self.state, self.spec = state, spec
        device = base.weight.device
        self.down = nn.Parameter(first_down(base, spec.width, generator))
        self.up = nn.Parameter(torch.zeros(base.weight.shape[0], spec.width, device=device))
        keys = torch.randn(spec.analogy.basis, spec.analogy.key_width, generator=generator)
        self.keys = nn.Parameter(keys.to(device))

    def weights(self) -> Tensor:
        """Of the state's analogies: [..., N]."""
        return mixing_weights(self.spec.analogy, self.state.query(), self.keys)

    def _by_rank(self, weights: Tensor) -> Tensor:
        """Each weight once for each of the r ranks of its basis LoRA: [..., N r]."""
        return weights.repeat_interleave(self.spec.rank, dim=-1)

    def _mixed(self, hidden: Tensor) -> Tensor:
        """A x, each rank times the weight that its basis LoRA has for the sample."""
        weights = self._by_rank(self.weights()).to(hidden)
        if weights.ndim == 2:
            times, left = divmod(len(hidden), len(weights))
            if left:
                raise UserError(
                    f"the adapter was given {len(weights)} analogies, but the batch has {len(hidden)} samples"
                )
            weights = weights.repeat(times, 1)
        channels = 1 if isinstance(self.base, nn.Conv2d) else -1
        shape = [1] * hidden.ndim
        shape[channels] = weights.shape[-1]
        if weights.ndim == 2:
            shape[0] = len(weights)
        return hidden * weights.reshape(shape)

    def _low_rank(self, x: Tensor) -> Tensor:
        down, up = self.down.to(x), (self.up * self.state.scale).to(x)  # a model may be in half precision
        mixed = self._mixed(self._into_rank(x, down))
        return (
            F.linear(mixed, up) if isinstance(self.base, nn.Linear) else F.conv2d(mixed, up[:, :, None, None])
        )

    def delta(self, weights: Tensor) -> Tensor:
        """DW of one mix, weights [N], of the shape of the base layer's weight."""
        product = self.state.scale * (self.up * self._by_rank(weights)) @ self.down.flatten(1)
        return product.reshape(self.base.weight.shape)
