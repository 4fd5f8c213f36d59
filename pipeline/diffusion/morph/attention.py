"""Attention interpolation and replacement (DiffMorpher: Zhang et al. 2024, section 4.2).

In a frame at position s, the keys and values of self-attention in the upper half of the denoiser are replaced
by K = (1 - s) K_X + s K_Y and V = (1 - s) V_X + s V_Y, interpolated between those of the two endpoints. The
authors' code interpolates the hidden states that keys and values are projected from, and projects them with
the weights of the frame.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn


class AttentionInterpolation:
    """Interpolate keys and values within a batch whose first and last samples are the endpoints.

    The endpoints, at positions 0 and 1, keep their own keys and values.

    Args:
        positions: The positions of the samples of each batch, [n].
        of: What is interpolated: `keys` and values, or the `hidden` states that they are projected from.

    Attributes:
        on: False leaves the attention as it is.
    """

    def __init__(self, positions: Tensor, of: Literal["keys", "hidden"] = "keys") -> None:
        self.positions, self.of, self.on = positions, of, True

    def _replace_output(self, layer: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """Replace the output [n, tokens, width] of a projection to keys or values; a forward hook."""
        return self._interpolated(output) if self.on else None

    def _replace_input(self, layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Replace the input [n, tokens, width] of such a projection; a forward pre-hook."""
        return (self._interpolated(args[0]), *args[1:]) if self.on else None

    def _interpolated(self, states: Tensor) -> Tensor:
        return torch.lerp(states[:1], states[-1:], self.positions.to(states)[:, None, None])

    @contextmanager
    def applied_to(self, denoiser: nn.Module) -> Iterator[None]:
        """Interpolate the self-attention of `denoiser` inside the context."""
        layers = [layer for name, layer in denoiser.named_modules() if is_interpolated(name)]
        if self.of == "hidden":
            handles = [layer.register_forward_pre_hook(self._replace_input) for layer in layers]
        else:
            handles = [layer.register_forward_hook(self._replace_output) for layer in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def is_interpolated(name: str) -> bool:
    """Tell whether a layer makes keys or values of self-attention (diffusers' `attn1`) in the upper half."""
    return name.startswith("up_blocks.") and name.endswith((".attn1.to_k", ".attn1.to_v"))
