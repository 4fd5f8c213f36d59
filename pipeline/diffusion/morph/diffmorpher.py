"""DiffMorpher (Zhang et al., CVPR 2024): LoRA interpolation with three additions.

Starting latents get channel statistics between those of the endpoints (AdaIN). The attention of the noisier
steps is interpolated between the endpoints. Frames are rescheduled, so that neighbours are at equal
perceptual distances.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from torch import Tensor, nn

from pipeline.diffusion.morph.attention import AttentionInterpolation
from pipeline.diffusion.morph.interpolation import interpolate_statistics, reschedule
from pipeline.diffusion.morph.lora_interp import LoraInterpolation
from pipeline.diffusion.morph.method import SampleFrames, equal_steps


class DiffMorpher(LoraInterpolation):
    """LoRA and noise interpolation, attention interpolation and replacement, AdaIN, rescheduling."""

    def starts(self, endpoints: Tensor, positions: Tensor) -> Tensor:
        """Interpolate spherically between the endpoints, and set statistics between theirs."""
        latents = super().starts(endpoints, positions)
        return interpolate_statistics(latents, endpoints[:1], endpoints[1:], positions)

    @contextmanager
    def modified(self, denoiser: nn.Module, positions: Tensor) -> Iterator[Callable[[float], None]]:
        """Interpolate attention in the noisiest steps; `settings.attention` is their share of all steps."""
        attention = AttentionInterpolation(positions, self.settings.attention_of)

        def before_step(noise_level: float) -> None:
            attention.on = noise_level > 1 - self.settings.attention

        with attention.applied_to(denoiser):
            yield before_step

    def frames(self, count: int, sample_frames: SampleFrames) -> tuple[np.ndarray, np.ndarray]:
        """Sample frames at equal steps of position, measure them, and sample at equal steps of distance."""
        if self.distances is None:
            raise ValueError("DiffMorpher needs distances to reschedule frames")
        positions = equal_steps(count)
        positions = reschedule(positions, self.distances(sample_frames(positions)))
        return positions, sample_frames(positions)
