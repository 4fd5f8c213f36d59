"""DiffMorpher (Zhang et al., CVPR 2024): LoRA interpolation, with four things more.

The latents that sampling starts from have channel statistics between those of the ends (AdaIN); the attention of the
noisier steps is interpolated between the ends; and frames are placed anew, so that neighbours are equally far apart.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from torch import Tensor, nn

from pipeline.diffusion.morph.attention import AttentionBetween
from pipeline.diffusion.morph.interpolation import blended_statistics, rescheduled
from pipeline.diffusion.morph.lora_interp import LoraInterpolation
from pipeline.diffusion.morph.method import Paint, even


class DiffMorpher(LoraInterpolation):
    """LoRA and noise interpolation, attention interpolation and replacement, AdaIN, rescheduling."""

    def starts(self, ends: Tensor, places: Tensor) -> Tensor:
        """On the arc between the ends, with statistics between theirs."""
        return blended_statistics(super().starts(ends, places), ends[:1], ends[1:], places)

    @contextmanager
    def changed(self, denoiser: nn.Module, places: Tensor) -> Iterator[Callable[[float], None]]:
        """Attention is interpolated in the noisiest of the steps, a share settings.attention of them."""
        attention = AttentionBetween(places)

        def at(noisiness: float) -> None:
            attention.on = noisiness > 1 - self.settings.attention

        with attention.within(denoiser):
            yield at

    def frames(self, count: int, paint: Paint) -> tuple[np.ndarray, np.ndarray]:
        """Painted at equal steps of place, measured, and painted again at equal steps of distance."""
        places = even(count)
        places = rescheduled(places, self.distances(paint(places)))
        return places, paint(places)
