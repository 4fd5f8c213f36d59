"""The base class of all morphing methods."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config import AdapterSpec, MorphSettings
from pipeline.diffusion.adapters import Adapter
from pipeline.diffusion.morph.interpolation import slerp
from pipeline.metrics.distances import Distances

SampleFrames = Callable[[np.ndarray], np.ndarray]
"""A function of positions [n], increasing from 0 at X to 1 at Y, that returns frames, uint8 [n, H, W, 3]."""


class Morph:
    """A way from X to Y: DDIM interpolation, of which each method overrides what it does differently.

    In all methods X and Y are inverted with the weights and the prompt of their own endpoint, and prompts are
    interpolated.

    Args:
        settings: The settings of the morph.
        distances: Measures neighbouring frames; only for methods that need it.
    """

    def __init__(self, settings: MorphSettings, distances: Distances | None = None) -> None:
        self.settings, self.distances = settings, distances

    def wrap(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> Adapter | None:
        """Put an adapter around `denoiser` to learn X at t = 0 and Y at t = 1; None if nothing is learned."""
        return None

    def starts(self, endpoints: Tensor, positions: Tensor) -> Tensor:
        """Return the latents that sampling starts from, [n, c, h, w].

        Args:
            endpoints: The inverted X and Y, [2, c, h, w].
            positions: The positions of the frames, [n].
        """
        return slerp(endpoints[:1], endpoints[1:], positions)

    @contextmanager
    def modified(self, denoiser: nn.Module, positions: Tensor) -> Iterator[Callable[[float], None]]:
        """Change `denoiser` inside the context for a batch of frames whose first and last are the endpoints.

        Args:
            denoiser: The denoiser, with its adapter.
            positions: The positions of the frames, [n].

        Yields:
            A function to call before each sampling step with the noise level of its latents, 1 for pure
            noise.
        """
        yield lambda noise_level: None

    def frames(self, count: int, sample_frames: SampleFrames) -> tuple[np.ndarray, np.ndarray]:
        """Sample `count` frames.

        Returns:
            The positions, [count], and the frames, uint8 [count, H, W, 3].
        """
        positions = equal_steps(count)
        return positions, sample_frames(positions)


def equal_steps(count: int) -> np.ndarray:
    """Return `count` positions from 0 to 1 at equal steps."""
    return torch.linspace(0, 1, count, dtype=torch.float64).numpy()
