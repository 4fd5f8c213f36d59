"""K(t), the matrix in the middle of Terra, in all its forms (Zhuang et al. 2024, section 3 and its ablation).

    linear        I + sum_d t_d W_d
    exponential   exp(sum_d t_d W_d), of the matrix; always invertible
    cosine        sum_d a_d cos(t_d w_d) on the diagonal, sum_d a_d sin(t_d w_d) off it, entry by entry

Each is full (r x r) or diagonal (r numbers, what the full form is with a diagonal W). The learned weights are one
tensor, in which E stands for [r, r], or [r] of a diagonal form: [t_dim, *E], of the cosine form [2, t_dim, *E] with
the amplitudes a first and then the frequencies w. A t of one dimension has no t_dim there.
"""

import math
import warnings

import torch
from torch import Tensor

from pipeline.config import AdapterSpec
from pipeline.core.errors import Remark, UserError
from pipeline.diffusion.adapters.adapter import Condition

NEARLY = 1e-3
"""How near, relative to t, a t may come to one at which K is singular before that is said."""


class SingularWarning(Remark):
    """K(t) of a layer loses rank at, or next to, the t asked for: some of what the adapter learned has no effect there."""


def _entries(spec: AdapterSpec) -> tuple[int, ...]:
    """The shape of K(t) as it is kept."""
    return (spec.rank,) if spec.diagonal else (spec.rank, spec.rank)


def has_middle(spec: AdapterSpec) -> bool:
    """Whether layers take K(t): all but the full linear form, which is I + t W to any number of t at once."""
    return spec.form != "linear" or spec.diagonal


def weights_shape(spec: AdapterSpec) -> tuple[int, ...]:
    """Of the learned weights of one layer."""
    times = (spec.t_dim,) if spec.t_dim > 1 else ()
    return ((2,) if spec.form == "cosine" else ()) + times + _entries(spec)


def first_weights(spec: AdapterSpec, generator: torch.Generator) -> Tensor:
    """Zeros, so that K(t) = I; of the cosine form, a from U(0, 1) and w from U(0, pi/2), as the authors draw them."""
    weights = torch.zeros(weights_shape(spec))
    if spec.form == "cosine":
        weights[0].uniform_(0, 1, generator=generator)
        weights[1].uniform_(0, math.pi / 2, generator=generator)
    return weights


def as_time(spec: AdapterSpec, t: Condition, dtype: torch.dtype = torch.float32) -> Tensor:
    """T as [t_dim], one for all, or [n, t_dim], one for each sample; UserError if it is neither."""
    t = torch.as_tensor(t, dtype=dtype)
    if spec.t_dim == 1 and t.ndim <= 1:
        t = t[..., None]  # a number, or one for each sample
    if t.ndim not in (1, 2) or t.shape[-1] != spec.t_dim:
        raise UserError(
            f"t has shape {list(t.shape)}, but the adapter's t_dim is {spec.t_dim}: expected "
            f"{'a number' if spec.t_dim == 1 else [spec.t_dim]}, or one for each sample"
        )
    return t[0] if t.ndim == 2 and len(t) == 1 else t


def one_time(spec: AdapterSpec, t: Condition, dtype: torch.dtype) -> Tensor:
    """T as [t_dim]; UserError if it is not one for all."""
    t = as_time(spec, t, dtype)
    if t.ndim == 2:
        raise UserError(
            f"t is {len(t)} points or numbers, but the adapter's t_dim is {spec.t_dim}, and weights are merged and "
            "exported at one point"
        )
    return t


def _times(spec: AdapterSpec, t: Tensor, weights: Tensor) -> Tensor:
    """t_d W_d: [..., t_dim, *E], for t [..., t_dim] and weights [..., t_dim, *E]."""
    return t.reshape(*t.shape, *[1] * len(_entries(spec))) * weights


def _sum(spec: AdapterSpec, terms: Tensor) -> Tensor:
    """Over d, the dimensions of t: [..., *E] of [..., t_dim, *E]."""
    return terms.sum(-1 - len(_entries(spec)))


def middle(spec: AdapterSpec, weights: Tensor, t: Tensor) -> Tensor:
    """K(t) [..., *E] for t [t_dim], or [..., n, *E] for t [n, t_dim], and weights [..., *weights_shape(spec)].

    The dimensions in front may be layers: their K(t) made at once cost little more than one of them.
    """
    before = weights.ndim - len(weights_shape(spec))
    parts = weights.reshape(*weights.shape[:before], -1, spec.t_dim, *_entries(spec)).unbind(before)
    if t.ndim == 2:
        parts = tuple(part.unsqueeze(before) for part in parts)
    if spec.form == "cosine":
        return _cosine(spec, *parts, t)
    if spec.form == "exponential":
        return _exponential(spec, *parts, t)
    identity = torch.ones if spec.diagonal else torch.eye
    return identity(spec.rank, dtype=t.dtype, device=t.device) + _sum(spec, _times(spec, t, *parts))


def _exponential(spec: AdapterSpec, weights: Tensor, t: Tensor) -> Tensor:
    """That of a matrix is dear: it is computed once for equal t, of which a batch in UDA has many."""
    if spec.diagonal:
        return _sum(spec, _times(spec, t, weights)).exp()
    if t.ndim == 1:
        return torch.linalg.matrix_exp(_sum(spec, _times(spec, t, weights)))
    different, places = t.unique(dim=0, return_inverse=True)
    return torch.linalg.matrix_exp(_sum(spec, _times(spec, different, weights))).index_select(-3, places)


def _cosine(spec: AdapterSpec, amplitudes: Tensor, frequencies: Tensor, t: Tensor) -> Tensor:
    """Sin is cos a quarter of a turn later, so that one cosine makes both kinds of entries."""
    angles = _times(spec, t, frequencies)
    if not spec.diagonal:
        off_diagonal = 1 - torch.eye(spec.rank, dtype=angles.dtype, device=angles.device)
        angles = angles - math.pi / 2 * off_diagonal
    return _sum(spec, amplitudes * angles.cos())


def matrix(spec: AdapterSpec, weights: Tensor, t: Tensor) -> Tensor:
    """K(t) as [..., r, r], of a diagonal form too."""
    k = middle(spec, weights, t)
    return torch.diag_embed(k) if spec.diagonal else k


def singular_times(spec: AdapterSpec, weights: Tensor, direction: Tensor) -> Tensor:
    """The s at which K(s * direction) is singular, in order: for t of one dimension and direction 1, the t themselves.

    Of the linear form, I + s M with M = sum_d direction_d W_d has determinant zero where s = -1 / lambda for a real
    eigenvalue lambda of M. An exponential never is singular; where a cosine form is, no such formula tells: for
    both, empty. direction: [t_dim].
    """
    if spec.form != "linear":
        return torch.empty(0, dtype=torch.float64)
    w = weights.detach().double().reshape(spec.t_dim, *_entries(spec))
    m = _sum(spec, _times(spec, direction.double(), w))
    eigenvalues = m if spec.diagonal else torch.linalg.eigvals(m)
    real = eigenvalues.real[eigenvalues.imag == 0] if eigenvalues.is_complex() else eigenvalues
    return (-1 / real[real != 0]).sort().values


def warn_if_singular(spec: AdapterSpec, weights: dict[str, Tensor], t: Tensor) -> None:
    """SingularWarning if K of a layer is singular at t [t_dim], or within NEARLY of it on the ray through it.

    weights: of every layer, by its name.
    """
    found = {}
    for name, each in weights.items():
        at = singular_times(spec, each, t)
        if len(at) and (near := at[(at - 1).abs().argmin()]).sub(1).abs() < NEARLY:
            found[name] = [round(x, 6) for x in (near * t).tolist()]
    if found:
        first, asked = next(iter(found)), [round(x, 6) for x in t.tolist()]
        more = (
            f"; so it is, or next to it, in {len(found) - 1} more of {len(weights)} layers"
            if len(found) > 1
            else ""
        )
        warnings.warn(
            f"{first}: K(t) = I + t W is singular at t = {found[first]}, and {asked} was asked for{more}",
            SingularWarning,
            stacklevel=3,
        )
