"""Sharpness-aware steps (Foret et al. 2021): the gradient is taken where the loss nearby is worst.

Gradient matching (Wang et al. 2023) is the same wrapper with a second parameter.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def perturbed(network: nn.Module, loss: Tensor, rho: float, alpha: float | None = None) -> Iterator[None]:
    """Moves the weights of `network` by rho * g / ||g||, with g the gradient of `loss` there; then restores them.

    ||g|| is the norm over all weights together. They are restored from copies, bit for bit. A gradient of zeros
    moves nothing, nor does one that overflowed, as one of half precision may. With `alpha`, gradients are matched:
    the weights move by (rho / ||g|| - alpha) * g, and every gradient h that is found within becomes (g + h) / 2 on
    leaving; of a loss scaled by s, s times that, if alpha is that of the step over s.
    Within, BatchNorm layers do not update their running statistics: these were updated by the pass that made `loss`,
    with the weights that are kept and evaluated, and should not be a second time.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
    kept = [weight.detach().clone() for weight in weights]
    tracking = [
        layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats
    ]
    try:
        if norm and math.isfinite(norm):
            _add(weights, gradients, rho / norm - (alpha or 0.0))
        for layer in tracking:
            layer.track_running_stats = False
        yield
        if alpha is not None:
            _average(weights, gradients)
    finally:
        for layer in tracking:
            layer.track_running_stats = True
        with torch.no_grad():
            for weight, value in zip(weights, kept, strict=True):
                weight.copy_(value)


@torch.no_grad()
def _add(weights: list[Tensor], directions: tuple[Tensor, ...], scale: float) -> None:
    for weight, direction in zip(weights, directions, strict=True):
        weight.add_(direction, alpha=scale)


@torch.no_grad()
def _average(weights: list[Tensor], gradients: tuple[Tensor, ...]) -> None:
    """Makes the gradient of every weight that has one the mean of it and of that in `gradients`."""
    for weight, gradient in zip(weights, gradients, strict=True):
        if weight.grad is not None:
            weight.grad.add_(gradient).div_(2)
