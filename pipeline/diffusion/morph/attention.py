"""Attention interpolation and replacement (DiffMorpher: Zhang et al. 2024, section 4.2).

Keys and values of self-attention in the upper half of the denoiser are replaced, in a frame, by what lies between
those of the two ends: K = (1 - s) K_X + s K_Y, and V alike, at the frame's place s.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class AttentionBetween:
    """While `on`, blends keys and values within a batch whose first and last samples are the ends, at places 0 and 1.

    The ends themselves keep their own.
    """

    def __init__(self, places: Tensor) -> None:
        """places: [n], of the samples of each batch."""
        self.places, self.on = places, True

    def __call__(self, layer: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """A forward hook of a projection to keys or values, whose output is [n, tokens, width]."""
        if not self.on:
            return None
        return torch.lerp(output[:1], output[-1:], self.places.to(output)[:, None, None])

    @contextmanager
    def within(self, denoiser: nn.Module) -> Iterator[None]:
        """Within it, the self-attention of `denoiser` is so interpolated."""
        layers = [layer for name, layer in denoiser.named_modules() if is_replaced(name)]
        handles = [layer.register_forward_hook(self) for layer in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def is_replaced(name: str) -> bool:
    """Whether a layer makes keys or values of self-attention (`attn1` in diffusers) on the way up."""
    return name.startswith("up_blocks.") and name.endswith((".attn1.to_k", ".attn1.to_v"))
