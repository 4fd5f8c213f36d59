"""One layer adapted by LoRWeB: dW = scale * sum_i w_i B_i A_i, a LoRA of rank N r for each analogy."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.config import AdapterSpec, AnalogySpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters.adapter import first_down
from pipeline.diffusion.adapters.layers import AdaptedLayer


def analogy_spec(spec: AdapterSpec) -> AnalogySpec:
    """Return `spec.analogy`, which every spec of type lorweb has."""
    assert spec.analogy is not None, f"an adapter of type {spec.type} has no analogy"
    return spec.analogy


@dataclass
class LorwebState:
    """What all adapted layers of one denoiser share.

    Attributes:
        analogy: Embedded analogy, [3 width], or one per sample, [n, 3 width].
        projection: Linear map from an analogy to a query [key_width].
        scale: Factor on the update.
    """

    analogy: Tensor
    projection: nn.Linear
    scale: float = 1.0

    def query(self) -> Tensor:
        """Return the queries [..., key_width], with gradients towards the projection."""
        return self.projection(self.analogy.to(self.projection.weight))


def mixing_weights(spec: AnalogySpec, query: Tensor, keys: Tensor) -> Tensor:
    """Return the weights of the basis LoRAs.

    With p = q . k / sqrt(d), where d is the width of a head: softmax of p over the basis, averaged over heads
    (`mixing: softmax`), or p itself, summed over heads and clamped to [-1, 1] (`mixing: clamp`), or the same
    of tanh(p) (`mixing: tanh`).

    Args:
        spec: Number of heads, width of keys, and kind of mixing.
        query: [..., key_width].
        keys: [N, key_width], one for each LoRA of the basis.

    Returns:
        Weights [..., N].
    """
    parts = spec.heads
    by_head = query.unflatten(-1, (parts, -1)), keys.unflatten(-1, (parts, -1))
    products = torch.einsum("...hd,nhd->...hn", *by_head) / (spec.key_width / parts) ** 0.5
    if spec.mixing == "softmax":
        return products.softmax(-1).mean(-2)
    if spec.mixing == "tanh":
        products = products.tanh()
    return products.sum(-2).clamp(-1, 1)


class LorwebLayer(AdaptedLayer):
    """A frozen Linear or Conv2d with a basis of N LoRAs of rank r beside it.

    Shapes for a Linear in -> out: `down` (all A_i) [N r, in], `up` (all B_i) [out, N r], with the r rows of
    one basis LoRA adjacent; `keys` [N, key_width]. For a Conv2d, A has the kernel, stride and padding of the
    base layer. B starts at zero, so that the adapted layer starts as the base layer.

    The state may hold one analogy for each of n samples. A batch of k n samples is then taken as k copies of
    these n, which is the order of classifier-free guidance.
    """

    def __init__(
        self,
        base: nn.Linear | nn.Conv2d,
        spec: AdapterSpec,
        state: LorwebState,
        generator: torch.Generator,
    ) -> None:
        super().__init__(base)
        self.state, self.spec, self.analogy = state, spec, analogy_spec(spec)
        device = base.weight.device
        self.down = nn.Parameter(first_down(base, spec, generator))
        self.up = nn.Parameter(torch.zeros(base.weight.shape[0], spec.width, device=device))
        keys = torch.randn(self.analogy.basis, self.analogy.key_width, generator=generator)
        self.keys = nn.Parameter(keys.to(device))

    def weights(self) -> Tensor:
        """Return the mixing weights [..., N] for the state's analogies."""
        return mixing_weights(self.analogy, self.state.query(), self.keys)

    def _by_rank(self, weights: Tensor) -> Tensor:
        """Repeat each weight for the r ranks of its basis LoRA: [..., N] to [..., N r]."""
        return weights.repeat_interleave(self.spec.rank, dim=-1)

    def _mixed(self, hidden: Tensor) -> Tensor:
        """Multiply each rank of A x by the sample's weight of that rank's basis LoRA."""
        weights = self._by_rank(self.weights()).to(hidden)
        if weights.ndim == 2:
            copies, rest = divmod(len(hidden), len(weights))
            if rest:
                raise UserError(
                    f"the adapter was given {len(weights)} analogies, but the batch has {len(hidden)} samples"
                )
            weights = weights.repeat(copies, 1)
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
        """Return dW for mixing weights [N], with the shape of the base weight."""
        product = self.state.scale * (self.up * self._by_rank(weights)) @ self.down.flatten(1)
        return product.reshape(self.base.weight.shape)
