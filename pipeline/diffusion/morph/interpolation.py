"""Interpolate latents, their statistics, prompts, and the positions of frames."""

import numpy as np
import torch
from torch import Tensor

from pipeline.diffusion.prompt_embeddings import PromptEmbeddings

PARALLEL = 1e-6
"""Latents at a smaller angle than this, in radians, are interpolated along a straight line."""


def _broadcast(positions: Tensor, like: Tensor) -> Tensor:
    """Reshape positions [n] to [n, 1, ...], with the dimensions, dtype and device of `like`."""
    return positions.to(like).reshape(-1, *[1] * (like.ndim - 1))


def slerp(first: Tensor, last: Tensor, positions: Tensor) -> Tensor:
    """Interpolate spherically: (sin((1 - s) a) first + sin(s a) last) / sin(a) at position s (Shoemake 1985).

    Parallel latents are interpolated along a straight line. Between opposite latents no arc is the shortest:
    they are treated as if their angle were smaller than pi by PARALLEL.

    Args:
        first: The latent at position 0, [1, ...].
        last: The latent at position 1, [1, ...], at the angle a from the first.
        positions: [n], each in [0, 1].

    Returns:
        [n, ...].
    """
    a, b, s = first.double(), last.double(), _broadcast(positions.double(), first.double())
    lengths = a.norm() * b.norm()
    cosine = (a * b).sum() / lengths if lengths > 0 else torch.ones((), dtype=a.dtype)
    angle = torch.arccos(cosine.clamp(-1, 1)).clamp(max=torch.pi - PARALLEL)
    if angle < PARALLEL:
        return torch.lerp(a, b, s).to(first.dtype)
    return ((((1 - s) * angle).sin() * a + (s * angle).sin() * b) / angle.sin()).to(first.dtype)


def interpolate_statistics(latents: Tensor, first: Tensor, last: Tensor, positions: Tensor) -> Tensor:
    """Give `latents` channel means and standard deviations between those of `first` and `last`.

    This is the AdaIN of DiffMorpher (Zhang et al. 2024, section 4.3).

    Args:
        latents: [n, c, h, w].
        first: The latent at position 0, [1, c, h, w].
        last: The latent at position 1, [1, c, h, w].
        positions: [n], each in [0, 1].
    """
    over, s = (2, 3), _broadcast(positions, latents)
    mean = torch.lerp(first.mean(over, keepdim=True), last.mean(over, keepdim=True), s)
    deviation = torch.lerp(first.std(over, keepdim=True), last.std(over, keepdim=True), s)
    own = latents.std(over, keepdim=True)
    shape = (latents - latents.mean(over, keepdim=True)) / own.clamp(min=torch.finfo(own.dtype).tiny)
    return shape * deviation + mean


def interpolate_prompts(endpoints: PromptEmbeddings, positions: Tensor) -> PromptEmbeddings:
    """Interpolate linearly between the embeddings of two prompts, at positions [n]."""
    tensors = endpoints.tensors()
    return PromptEmbeddings(
        **{name: torch.lerp(t[:1], t[1:], _broadcast(positions, t)) for name, t in tensors.items()}
    )


def reschedule(positions: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Find positions at equal perceptual distances (DiffMorpher, section 4.4).

    Between two measured frames the distance is taken to grow linearly with the position.

    Args:
        positions: The positions of the measured frames, [n], increasing from 0 to 1.
        distances: The distances between neighbouring frames, [n - 1].

    Returns:
        [n]; `positions` themselves if all distances are 0.
    """
    cumulative = np.concatenate([[0.0], np.cumsum(distances, dtype=np.float64)])
    if cumulative[-1] == 0:
        return positions
    found = np.interp(np.linspace(0, cumulative[-1], len(positions)), cumulative, positions)
    # Where the first or last frames are alike, np.interp may return the position of any of them.
    found[0], found[-1] = positions[0], positions[-1]
    return found
