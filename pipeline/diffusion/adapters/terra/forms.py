"""K(t), the middle matrix of Terra, in all its forms (Zhuang et al. 2024, section 3 and its ablation).

    linear        I + sum_d t_d W_d
    exponential   exp(sum_d t_d W_d), the matrix exponential; always invertible
    cosine        sum_d a_d cos(t_d w_d) on the diagonal, sum_d a_d sin(t_d w_d) off it, entry by entry

K(t) is full (r x r) or diagonal (r numbers, which equals the full form with a diagonal W). The trained
weights of a layer are one tensor. With E for [r, r], or [r] of a diagonal form, its shape is [t_dim, *E], and
of the cosine form [2, t_dim, *E], first the amplitudes a and then the frequencies w. The dimension t_dim is
left out if it is 1.
"""

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.config import AdapterSpec
from pipeline.core.errors import Remark, UserError
from pipeline.diffusion.adapters.adapter import Condition

SINGULAR_TOLERANCE = 1e-3
"""A t is reported as singular if K is singular within this distance of it, relative to t."""


class SingularWarning(Remark):
    """K(t) of a layer loses rank at or near the requested t: part of the adapter has no effect there."""


def _entries(spec: AdapterSpec) -> tuple[int, ...]:
    """Return the shape E in which K(t) is stored."""
    return (spec.rank,) if spec.diagonal else (spec.rank, spec.rank)


def has_middle(spec: AdapterSpec) -> bool:
    """Return whether layers need K(t) as a matrix. The full linear form applies I + t W directly instead."""
    return spec.form != "linear" or spec.diagonal


def weights_shape(spec: AdapterSpec) -> tuple[int, ...]:
    """Return the shape of the trained weights of one layer."""
    dimensions = (spec.t_dim,) if spec.t_dim > 1 else ()
    return ((2,) if spec.form == "cosine" else ()) + dimensions + _entries(spec)


def first_weights(spec: AdapterSpec, generator: torch.Generator) -> Tensor:
    """Return initial weights.

    The weights of the linear and exponential forms are zero, so that K(t) = I. The cosine form draws its
    weights as the authors do: a from U(0, 1) and w from U(0, pi/2).
    """
    weights = torch.zeros(weights_shape(spec))
    if spec.form == "cosine":
        weights[0].uniform_(0, 1, generator=generator)
        weights[1].uniform_(0, math.pi / 2, generator=generator)
    return weights


def as_time(spec: AdapterSpec, t: Condition, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return `t` as [t_dim], one time for the whole batch, or [n, t_dim], one for each sample.

    Raises:
        UserError: `t` has other dimensions than the adapter's t_dim.
    """
    t = torch.as_tensor(t, dtype=dtype)
    if spec.t_dim == 1 and t.ndim <= 1:
        t = t[..., None]  # a number, or one number for each sample
    if t.ndim not in (1, 2) or t.shape[-1] != spec.t_dim:
        raise UserError(
            f"t has shape {list(t.shape)}, but the adapter's t_dim is {spec.t_dim}: expected "
            f"{'a number' if spec.t_dim == 1 else [spec.t_dim]}, or one for each sample"
        )
    return t[0] if t.ndim == 2 and len(t) == 1 else t


def one_time(spec: AdapterSpec, t: Condition, dtype: torch.dtype) -> Tensor:
    """Return `t` as [t_dim].

    Raises:
        UserError: `t` is not one time.
    """
    t = as_time(spec, t, dtype)
    if t.ndim == 2:
        raise UserError(
            f"t is {len(t)} points or numbers, but the adapter's t_dim is {spec.t_dim}, and weights are "
            "merged and exported at one point"
        )
    return t


def _times(spec: AdapterSpec, t: Tensor, weights: Tensor) -> Tensor:
    """Return t_d W_d, [..., t_dim, *E], for t [..., t_dim] and weights [..., t_dim, *E]."""
    return t.reshape(*t.shape, *[1] * len(_entries(spec))) * weights


def _sum(spec: AdapterSpec, terms: Tensor) -> Tensor:
    """Sum over the dimensions of t: [..., t_dim, *E] to [..., *E]."""
    return terms.sum(-1 - len(_entries(spec)))


def middle(spec: AdapterSpec, weights: Tensor, t: Tensor) -> Tensor:
    """Return K(t) as it is stored.

    Args:
        spec: The adapter's form.
        weights: [..., *weights_shape(spec)]. Leading dimensions may be layers, whose K(t) together cost
            little more than one K(t).
        t: [t_dim], or [n, t_dim] for n times.

    Returns:
        [..., *E], or [..., n, *E].
    """
    leading = weights.ndim - len(weights_shape(spec))
    parts = weights.reshape(*weights.shape[:leading], -1, spec.t_dim, *_entries(spec)).unbind(leading)
    if t.ndim == 2:
        parts = tuple(part.unsqueeze(leading) for part in parts)
    if spec.form == "cosine":
        amplitudes, frequencies = parts
        return _cosine(spec, amplitudes, frequencies, t)
    (w,) = parts
    if spec.form == "exponential":
        return _exponential(spec, w, t)
    identity = torch.ones if spec.diagonal else torch.eye
    return identity(spec.rank, dtype=t.dtype, device=t.device) + _sum(spec, _times(spec, t, w))


def _exponential(spec: AdapterSpec, weights: Tensor, t: Tensor) -> Tensor:
    """Return exp(sum_d t_d W_d).

    The matrix exponential is expensive, and a batch under uda has few different t: it is computed once for
    each.
    """
    if spec.diagonal:
        return _sum(spec, _times(spec, t, weights)).exp()
    if t.ndim == 1:
        return torch.linalg.matrix_exp(_sum(spec, _times(spec, t, weights)))
    distinct, rows = t.unique(dim=0, return_inverse=True)
    return torch.linalg.matrix_exp(_sum(spec, _times(spec, distinct, weights))).index_select(-3, rows)


def _cosine(spec: AdapterSpec, amplitudes: Tensor, frequencies: Tensor, t: Tensor) -> Tensor:
    """Return the cosine form. sin(x) is computed as cos(x - pi/2), so that one cosine serves all entries."""
    angles = _times(spec, t, frequencies)
    if not spec.diagonal:
        off_diagonal = 1 - torch.eye(spec.rank, dtype=angles.dtype, device=angles.device)
        angles = angles - math.pi / 2 * off_diagonal
    return _sum(spec, amplitudes * angles.cos())


def matrix(spec: AdapterSpec, weights: Tensor, t: Tensor) -> Tensor:
    """Return K(t) as a full matrix [..., r, r], also for a diagonal form."""
    k = middle(spec, weights, t)
    return torch.diag_embed(k) if spec.diagonal else k


def singular_times(spec: AdapterSpec, weights: Tensor, direction: Tensor) -> Tensor:
    """Return the s at which K(s * direction) is singular, in ascending order.

    For the linear form, I + s M with M = sum_d direction_d W_d has determinant zero at s = -1 / lambda for
    each real eigenvalue lambda != 0 of M. The exponential form is never singular. For the cosine form there
    is no such formula. Both give an empty tensor.

    Args:
        spec: The adapter's form.
        weights: The trained weights of one layer.
        direction: [t_dim]. With t_dim 1 and direction 1, the result holds the singular t themselves.
    """
    if spec.form != "linear":
        return torch.empty(0, dtype=torch.float64)
    w = weights.detach().double().reshape(spec.t_dim, *_entries(spec))
    m = _sum(spec, _times(spec, direction.double(), w))
    eigenvalues = m if spec.diagonal else torch.linalg.eigvals(m)
    real = eigenvalues.real[eigenvalues.imag == 0] if eigenvalues.is_complex() else eigenvalues
    return (-1 / real[real != 0]).sort().values


def warn_if_singular(spec: AdapterSpec, weights: Mapping[str, Tensor], t: Tensor) -> None:
    """Issue a SingularWarning if K of a layer is singular at `t`, or near it on the line through 0 and `t`.

    Args:
        spec: The adapter's form.
        weights: The trained weights of each layer, by layer name.
        t: [t_dim].
    """
    found = {}
    for name, layer_weights in weights.items():
        factors = singular_times(spec, layer_weights, t)
        if not len(factors):
            continue
        nearest = factors[(factors - 1).abs().argmin()]
        if nearest.sub(1).abs() < SINGULAR_TOLERANCE:
            found[name] = [round(x, 6) for x in (nearest * t).tolist()]
    if found:
        first, requested = next(iter(found)), [round(x, 6) for x in t.tolist()]
        others = (
            f"; {len(found) - 1} more of {len(weights)} layers are singular there" if len(found) > 1 else ""
        )
        warnings.warn(
            f"{first}: K(t) = I + t W is singular at t = {found[first]}, and t = {requested} was requested"
            f"{others}",
            SingularWarning,
            stacklevel=3,
        )
