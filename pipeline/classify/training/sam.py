"""Sharpness-aware steps: the gradient is taken at the worst point near the weights.

P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, "Sharpness-Aware Minimization for Efficiently Improving
Generalization", ICLR 2021, equation 2 for p = 2. Gradient matching (P. Wang et al., "Sharpness-Aware Gradient
Matching for Domain Generalization", CVPR 2023) is the same with a second parameter.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from pipeline.classify.network import kept_statistics


@contextmanager
def perturbed(
    network: nn.Module,
    loss: Tensor,
    rho: float,
    alpha: float | None = None,
    update_statistics: bool = False,
) -> Iterator[None]:
    """Move the weights w of `network` to w + rho * g / |g| for the duration of the context.

    g is the gradient of `loss` at w, and |g| its norm over all weights together. On leaving, the weights are
    restored from copies, bit for bit. A gradient of zeros moves nothing; nor does one that overflowed, as in
    half precision it may.

    Within the context, BatchNorm layers do not update their running statistics, unless told to. The pass that
    computed `loss` did, with the weights that are kept and evaluated.

    Args:
        network: The network to move.
        loss: A scalar, computed by `network` at w.
        rho: The radius.
        alpha: The strength of gradient matching. If set, the weights move by (rho / |g| - alpha) * g, and
            every gradient h that is on the weights on leaving becomes (g + h) / 2. For a loss that is scaled
            by s, this is the alpha of the unscaled loss divided by s.
        update_statistics: Whether BatchNorm layers update their statistics within the context too, at weights
            that are not kept.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    kept = [weight.detach().clone() for weight in weights]
    try:
        move = _move_on_cpu if norm.is_cpu else _move_on_gpu
        move(weights, gradients, norm, rho, alpha or 0.0)
        with nullcontext() if update_statistics else kept_statistics(network):
            yield
        if alpha is not None:
            _average_gradients(weights, gradients)
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, kept, strict=True):
                weight.copy_(value)


@torch.no_grad()
def _move_on_cpu(
    weights: Sequence[Tensor], directions: Sequence[Tensor], norm: Tensor, rho: float, alpha: float
) -> None:
    """Add (rho / norm - alpha) times its direction to each weight, unless the norm is 0 or not finite."""
    length = norm.item()
    if length and math.isfinite(length):
        for weight, direction in zip(weights, directions, strict=True):
            weight.add_(direction, alpha=rho / length - alpha)


@torch.no_grad()
def _move_on_gpu(
    weights: Sequence[Tensor], directions: Sequence[Tensor], norm: Tensor, rho: float, alpha: float
) -> None:
    """Do the same without waiting for the norm; every weight is rounded twice instead of once."""
    moves, scale = (norm > 0) & norm.isfinite(), rho / norm - alpha
    for weight, direction in zip(weights, directions, strict=True):
        weight.add_(torch.where(moves, direction * scale, 0.0))


@torch.no_grad()
def _average_gradients(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Replace the gradient of each weight that has one by its mean with that in `gradients`."""
    for weight, gradient in zip(weights, gradients, strict=True):
        if weight.grad is not None:
            weight.grad.add_(gradient).div_(2)
