"""What lies between two latents, two prompts, and two ends of a curve."""

import numpy as np
import torch
from torch import Tensor

from pipeline.diffusion.prompt_embeddings import PromptEmbeddings

PARALLEL = 1e-6
"""Latents whose angle is smaller than this, in radians, are blended along the straight line between them."""


def _wide(places: Tensor, like: Tensor) -> Tensor:
    """Places [n] as [n, 1, ...], to be multiplied by `like`."""
    return places.to(like).reshape(-1, *[1] * (like.ndim - 1))


def slerp(first: Tensor, last: Tensor, places: Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985): at place s, (sin((1 - s) a) first + sin(s a) last) / sin(a).

    first, last: [1, ...], with the angle a between them; places: [n], in [0, 1]. Returns [n, ...]. Where the two are
    parallel, the straight line between them; where they are opposite, no arc is the shortest, and they are blended
    as if they were at an angle a hair smaller.
    """
    a, b, s = first.double(), last.double(), _wide(places.double(), first.double())
    lengths = a.norm() * b.norm()
    cosine = (a * b).sum() / lengths if lengths > 0 else torch.ones((), dtype=a.dtype)
    angle = torch.arccos(cosine.clamp(-1, 1)).clamp(max=torch.pi - PARALLEL)
    if angle < PARALLEL:
        return torch.lerp(a, b, s).to(first.dtype)
    return ((((1 - s) * angle).sin() * a + (s * angle).sin() * b) / angle.sin()).to(first.dtype)


def blended_statistics(latents: Tensor, first: Tensor, last: Tensor, places: Tensor) -> Tensor:
    """`latents` [n, c, h, w] with the means and deviations of channels that lie between those of `first` and `last`.

    The AdaIN of DiffMorpher (Zhang et al. 2024, section 4.3). first, last: [1, c, h, w]; places: [n].
    """
    over, s = (2, 3), _wide(places, latents)
    mean = torch.lerp(first.mean(over, keepdim=True), last.mean(over, keepdim=True), s)
    deviation = torch.lerp(first.std(over, keepdim=True), last.std(over, keepdim=True), s)
    own = latents.std(over, keepdim=True)
    shape = (latents - latents.mean(over, keepdim=True)) / own.clamp(min=torch.finfo(own.dtype).tiny)
    return shape * deviation + mean


def blended_prompts(ends: PromptEmbeddings, places: Tensor) -> PromptEmbeddings:
    """The conditions of n frames between the two of `ends`, on the straight line. places: [n]."""
    tensors = ends.tensors()
    return PromptEmbeddings(
        **{name: torch.lerp(t[:1], t[1:], _wide(places, t)) for name, t in tensors.items()}
    )


def rescheduled(places: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Places at which the frames are at equal steps, if distance grows evenly between those measured.

    The rescheduling of DiffMorpher (section 4.4). places: increasing, [n], from 0 to 1; distances: those between
    the frames at neighbouring places, [n - 1]. If all are 0, `places` as they are.
    """
    along = np.concatenate([[0.0], np.cumsum(distances, dtype=np.float64)])
    if along[-1] == 0:
        return places
    found = np.interp(np.linspace(0, along[-1], len(places)), along, places)
    found[0], found[-1] = places[0], places[-1]  # of frames at an end that are alike, any would be found
    return found
