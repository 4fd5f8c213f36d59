"""FID and KID of features, PPL of distances, PSNR of images."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

KID_SUBSET_SIZE = 1000
"""The largest number of images in a subset of KID, as in torch-fidelity and torchmetrics."""

KID_SUBSETS = 100


class _Identity(nn.Module):
    """A feature extractor for torchmetrics whose input already is features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def _compute(metric: Any, made: np.ndarray, real: np.ndarray) -> Any:
    """Compute a metric of torchmetrics in double precision."""
    metric = metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(made), real=False)
    return metric.compute()


def full_rank(images: int, features: int) -> bool:
    """Tell whether the covariance of `features` features can have full rank with `images` images."""
    return images > features


def fid(made: np.ndarray, real: np.ndarray) -> float:
    """Compute the Fréchet distance between two sets (Heusel et al. 2017).

    Args:
        made: Features, float64 [n, d], n at least 2.
        real: Features, float64 [m, d], m at least 2.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    return float(_compute(FrechetInceptionDistance(feature=_Identity(made.shape[1])), made, real))


def kid(made: np.ndarray, real: np.ndarray) -> float:
    """Compute the kernel distance between two sets (Bińkowski et al. 2018), unbiased even with few images.

    It is the mean over KID_SUBSETS subsets, which are drawn from a fixed seed and have as many images as the
    smaller set, at most KID_SUBSET_SIZE.

    Args:
        made: Features, float64 [n, d].
        real: Features, float64 [m, d].
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(made), len(real), KID_SUBSET_SIZE)
    subsets = 1 if size == len(made) == len(real) else KID_SUBSETS
    with warnings.catch_warnings(action="ignore"):  # it warns that it keeps all features in memory
        metric = KernelInceptionDistance(feature=_Identity(made.shape[1]), subsets=subsets, subset_size=size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return float(_compute(metric, made, real)[0])


@dataclass(frozen=True)
class Smoothness:
    """The smoothness of one sequence.

    Attributes:
        ppl: The sum of the distances between neighbouring frames.
        variation: The standard deviation of these distances divided by their mean.
    """

    ppl: float
    variation: float


def smoothness(distances: np.ndarray) -> Smoothness:
    """Compute the smoothness of a sequence.

    Args:
        distances: The distances between its neighbouring frames, [n - 1]. If all are 0, so is the variation.
    """
    mean = distances.mean() if len(distances) else 0.0
    return Smoothness(float(distances.sum()), float(distances.std() / mean) if mean > 0 else 0.0)


def psnr(image: np.ndarray, other: np.ndarray) -> float:
    """Compute the peak signal-to-noise ratio in dB of two uint8 images; infinity if they are equal."""
    error = np.mean((image.astype(np.float64) - other) ** 2)
    return float(10 * np.log10(255**2 / error)) if error > 0 else float("inf")
