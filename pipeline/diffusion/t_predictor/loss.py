"""The loss of a t-predictor (Zhuang et al. 2024, section 4.2, as in the authors' code)."""

import torch
from torch import Tensor


def contrastive(t: Tensor, domains: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Compute the contrastive loss in two parts, whose sum is minimised.

    A pair of one domain costs its distance, a pair of different domains what its distance lacks to `margin`.
    Where two t are equal, their distance has gradient 0.

    Args:
        t: The predicted t of a batch, float [n, t_dim].
        domains: The domain of each image, int64 [n].
        margin: The distance beyond which a pair of different domains costs nothing.

    Returns:
        The means over the pairs of one domain and over those of different domains; 0 where there are no
        pairs.
    """
    distance = torch.linalg.vector_norm(t[:, None] - t[None], dim=-1)
    same = domains[:, None] == domains[None]
    pair = torch.ones_like(same).triu(1)
    return _mean(distance, pair & same), _mean((margin - distance).clamp(min=0), pair & ~same)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Average `values` over the entries where `where` is true; 0 if there are none."""
    return (values * where).sum() / where.sum().clamp(min=1)


def gaussian(t: Tensor, floor: float) -> Tensor:
    """Compute KL(N(mean, covariance + floor I) || N(0, I)) of a batch of t.

    It is 1/2 (|mean|^2 - log det covariance + tr covariance - t_dim), with the unbiased covariance, computed
    in double precision by a Cholesky factor.

    Args:
        t: The predicted t of a batch, float [n, t_dim], n at least 2.
        floor: Added to the diagonal, so that the result is finite where the covariance is singular.
    """
    wide = t.double()
    mean = wide.mean(dim=0)
    centred = wide - mean
    covariance = centred.T @ centred / (len(t) - 1) + floor * torch.eye(t.shape[1]).to(wide)
    log_det = 2 * torch.linalg.cholesky(covariance).diagonal().log().sum()
    return (0.5 * (mean.square().sum() - log_det + covariance.trace() - t.shape[1])).to(t.dtype)
