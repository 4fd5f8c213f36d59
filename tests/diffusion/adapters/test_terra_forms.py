"""K(t) in all its forms, against its formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters.terra import forms

a_time = st.floats(-2, 2, allow_nan=False)
a_seed = st.integers(0, 2**32)


def weights_of(spec: AdapterSpec, seed: int) -> Tensor:
    """Weights of K(t) as if learned, in float64."""
    drawn = torch.randn(forms.weights_shape(spec), generator=torch.Generator().manual_seed(seed))
    return drawn.double() * 0.5


@given(seed=a_seed, diagonal=st.booleans(), t_dim=st.integers(1, 3))
def test_at_t_zero_k_is_the_identity_whatever_was_learned(seed: int, diagonal: bool, t_dim: int) -> None:
    for form in ("linear", "exponential"):
        spec = AdapterSpec(form=form, diagonal=diagonal, t_dim=t_dim, rank=4)
        k = forms.matrix(spec, weights_of(spec, seed), torch.zeros(t_dim))
        assert torch.equal(k, torch.eye(4, dtype=torch.float64))


@given(seed=a_seed, diagonal=st.booleans(), t=st.lists(a_time, min_size=1, max_size=3))
def test_an_exponential_at_minus_t_undoes_the_one_at_t(seed: int, diagonal: bool, t: list[float]) -> None:
    spec = AdapterSpec(form="exponential", diagonal=diagonal, t_dim=len(t), rank=4)
    weights, t = weights_of(spec, seed), torch.tensor(t, dtype=torch.float64)
    there, back = (forms.matrix(spec, weights, sign * t) for sign in (1, -1))
    bound = 1e-12 * there.norm() * back.norm()
    assert (there @ back - torch.eye(4)).abs().max() <= bound


@given(seed=a_seed, t=st.lists(a_time, min_size=1, max_size=3))
def test_a_diagonal_form_is_the_full_one_with_a_diagonal_w(seed: int, t: list[float]) -> None:
    for form in ("linear", "exponential", "cosine"):
        full, diagonal = (
            AdapterSpec(form=form, diagonal=diagonal, t_dim=len(t), rank=4) for diagonal in (False, True)
        )
        weights = weights_of(diagonal, seed)
        point = torch.tensor(t, dtype=torch.float64)
        expected = forms.matrix(full, torch.diag_embed(weights), point)
        assert torch.allclose(forms.matrix(diagonal, weights, point), expected, atol=1e-12)


@given(seed=a_seed, t=st.lists(a_time, min_size=1, max_size=3))
def test_the_cosine_form_is_its_sums_written_out(seed: int, t: list[float]) -> None:
    spec = AdapterSpec(form="cosine", t_dim=len(t), rank=3)
    amplitudes, frequencies = weights_of(spec, seed).reshape(2, len(t), 3, 3)
    k = forms.matrix(spec, weights_of(spec, seed), torch.tensor(t, dtype=torch.float64))
    for i in range(3):
        for j in range(3):
            turn = math.cos if i == j else math.sin
            terms = (
                amplitudes[d, i, j].item() * turn(t[d] * frequencies[d, i, j].item()) for d in range(len(t))
            )
            assert k[i, j].item() == pytest.approx(sum(terms), abs=1e-9)


def test_the_cosine_form_starts_as_the_authors_draw_it() -> None:
    spec = AdapterSpec(form="cosine", t_dim=2, rank=40)
    amplitudes, frequencies = forms.first_weights(spec, torch.Generator().manual_seed(0))
    assert amplitudes.min() >= 0
    assert 0.95 < amplitudes.max() <= 1
    assert frequencies.min() >= 0
    assert 1.5 < frequencies.max() <= math.pi / 2


@settings(deadline=None)
@given(seed=a_seed, diagonal=st.booleans())
def test_the_linear_form_loses_rank_at_its_singular_times_alone(seed: int, diagonal: bool) -> None:
    spec = AdapterSpec(rank=4, diagonal=diagonal)
    weights = weights_of(spec, seed)
    for t in forms.singular_times(spec, weights, torch.ones(1)).tolist():
        if abs(t) < 1e3:
            values = torch.linalg.svdvals(forms.matrix(spec, weights, torch.tensor([t], dtype=torch.float64)))
            assert values[-1] < 1e-6 * values[0]
