"""FID, KID and PPL, of features and distances; PSNR."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

MOST = 1000
"""Images in a subset of KID, as in torch-fidelity and torchmetrics."""

SUBSETS = 100


class _Given(nn.Module):
    """Features that torchmetrics takes for images."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def _told(metric: Any, made: np.ndarray, real: np.ndarray) -> Any:
    metric = metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(made), real=False)
    return metric.compute()


def full_rank(images: int, features: int) -> bool:
    """Whether the covariance of so many features can have full rank with so many images."""
    return images > features


def fid(made: np.ndarray, real: np.ndarray) -> float:
    """The Frechet distance (Heusel et al. 2017) of features [n, d] and [m, d], float64. Two of each are needed."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    return float(_told(FrechetInceptionDistance(feature=_Given(made.shape[1])), made, real))


def kid(made: np.ndarray, real: np.ndarray) -> float:
    """The kernel distance (Binkowski et al. 2018) of features [n, d] and [m, d]: unbiased with few images too.

    The mean over SUBSETS draws of as many images as the smaller set has, at most MOST, drawn from a fixed seed.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(made), len(real), MOST)
    subsets = 1 if size == len(made) == len(real) else SUBSETS
    with warnings.catch_warnings(action="ignore"):  # that it keeps the features of all images, which is meant
        metric = KernelInceptionDistance(feature=_Given(made.shape[1]), subsets=subsets, subset_size=size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return float(_told(metric, made, real)[0])


@dataclass(frozen=True)
class Smoothness:
    """Of one sequence. ppl: the sum of the distances between neighbours; variation: their deviation over their mean."""

    ppl: float
    variation: float


def smoothness(distances: np.ndarray) -> Smoothness:
    """distances: [n - 1]. The variation is 0 where all frames are alike."""
    mean = distances.mean() if len(distances) else 0.0
    return Smoothness(float(distances.sum()), float(distances.std() / mean) if mean > 0 else 0.0)


def psnr(image: np.ndarray, other: np.ndarray) -> float:
    """The peak signal-to-noise ratio in dB of two uint8 images: infinite where they are the same."""
    error = np.mean((image.astype(np.float64) - other) ** 2)
    return float(10 * np.log10(255**2 / error)) if error > 0 else float("inf")
