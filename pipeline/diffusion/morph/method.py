"""What a morphing method is, and what all of them share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config import AdapterSpec, MorphSettings
from pipeline.diffusion.adapters import Adapter
from pipeline.diffusion.morph.interpolation import slerp

Distances = Callable[[np.ndarray], np.ndarray]
"""Images uint8 [n, H, W, 3] -> the perceptual distances between neighbours, float64 [n - 1]."""

Paint = Callable[[np.ndarray], np.ndarray]
"""Places [n], increasing, from 0 at X to 1 at Y -> the frames there, uint8 [n, H, W, 3]."""


class Morph:
    """One way from X to Y. A method says otherwise what it does otherwise; as it stands, this is DDIM interpolation.

    In all of them, X and Y are inverted with the weights and prompts of their own ends, and prompts are interpolated.
    """

    def __init__(self, settings: MorphSettings, distances: Distances | None = None) -> None:
        """distances: for a method that looks at how far its frames are from each other."""
        self.settings, self.distances = settings, distances

    def wrap(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> Adapter | None:
        """The adapter that is tuned on X at t = 0 and Y at t = 1, around `denoiser`; None if nothing is tuned."""
        return None

    def starts(self, ends: Tensor, places: Tensor) -> Tensor:
        """What sampling starts from, [n, c, h, w]. ends: inverted X and Y, [2, c, h, w]; places: [n]."""
        return slerp(ends[:1], ends[1:], places)

    @contextmanager
    def changed(self, denoiser: nn.Module, places: Tensor) -> Iterator[Callable[[float], None]]:
        """Within it, `denoiser` makes a batch of frames at `places`, whose first and last are the ends.

        Yields what is told, before each step, how noisy its latents are: 1 is pure noise.
        """
        yield lambda noisiness: None

    def frames(self, count: int, paint: Paint) -> tuple[np.ndarray, np.ndarray]:
        """The places of `count` frames, [count], and the frames."""
        places = even(count)
        return places, paint(places)


def even(count: int) -> np.ndarray:
    """`count` places from 0 to 1 at equal steps."""
    return torch.linspace(0, 1, count, dtype=torch.float64).numpy()
