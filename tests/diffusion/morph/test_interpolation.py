"""Laws of interpolation: of latents, their statistics, prompts and positions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.diffusion.morph.interpolation import (
    interpolate_prompts,
    interpolate_statistics,
    reschedule,
    slerp,
)
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings

places = st.floats(0, 1)
latents = st.integers(0, 2**31).map(
    lambda seed: torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
)


@given(latents, latents, places)
def test_slerp_is_the_same_from_both_sides(a: torch.Tensor, b: torch.Tensor, s: float) -> None:
    one = slerp(a, b, torch.tensor([s], dtype=torch.float64))
    other = slerp(b, a, torch.tensor([1 - s], dtype=torch.float64))
    assert torch.allclose(one, other, atol=1e-9)


@given(latents, latents, places)
def test_slerp_goes_through_equal_angles_on_the_sphere(a: torch.Tensor, b: torch.Tensor, s: float) -> None:
    a, b = a / a.norm(), b / b.norm()
    there = slerp(a, b, torch.tensor([s], dtype=torch.float64))
    assert there.norm().item() == pytest.approx(1)

    # The angle of unit vectors by their difference: arccos is inexact near 0.
    def angle(x: torch.Tensor, y: torch.Tensor) -> float:
        return 2 * math.asin(min(1.0, (x - y).norm().item() / 2))

    assert angle(a, there) == pytest.approx(s * angle(a, b), abs=1e-6)


@given(latents)
def test_slerp_of_one_and_the_same_stays_there(a: torch.Tensor) -> None:
    there = slerp(a, a, torch.linspace(0, 1, 5, dtype=torch.float64))
    assert torch.allclose(there, a.expand(5, -1, -1, -1))


@given(latents)
def test_slerp_of_parallel_latents_is_the_line_between_them(a: torch.Tensor) -> None:
    there = slerp(a, 3 * a, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert torch.allclose(there, torch.cat([a, 2 * a, 3 * a]), atol=1e-6)


def test_slerp_of_opposite_latents_is_finite_and_ends_at_them() -> None:
    a = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    there = slerp(a, -a, torch.linspace(0, 1, 5, dtype=torch.float64))
    assert torch.isfinite(there).all()
    assert torch.allclose(there[[0, -1]], torch.cat([a, -a]), atol=1e-5)


@given(latents, latents, places)
def test_statistics_lie_between_those_of_the_ends(a: torch.Tensor, b: torch.Tensor, s: float) -> None:
    a, b = 3 * a + 1, b - 2
    made = interpolate_statistics(torch.randn_like(a), a, b, torch.tensor([s], dtype=torch.float64))
    for statistic in (torch.mean, torch.std):
        of_a, of_b, of_made = (statistic(x, dim=(2, 3)) for x in (a, b, made))
        assert torch.allclose(of_made, (1 - s) * of_a + s * of_b)


def test_statistics_at_an_end_leave_that_end_as_it_is() -> None:
    a, b = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64)
    made = interpolate_statistics(torch.cat([a, b]), a, b, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert torch.allclose(made, torch.cat([a, b]), atol=1e-10)


def test_prompts_are_on_the_line_between_the_ends() -> None:
    ends = PromptEmbeddings(torch.tensor([[[0.0, 4.0]], [[8.0, 0.0]]]), pooled=torch.tensor([[1.0], [3.0]]))
    made = interpolate_prompts(ends, torch.tensor([0.0, 0.25, 1.0]))
    assert made.prompts.tolist() == [[[0.0, 4.0]], [[2.0, 3.0]], [[8.0, 0.0]]]
    assert made.pooled.tolist() == [[1.0], [1.5], [3.0]]
    assert made.sizes is None


@given(st.floats(0.6, 3), st.integers(3, 40))
def test_rescheduling_a_known_curve_gives_equal_steps(power: float, count: int) -> None:
    """Distance from X grows as position ** power: new positions are at (k / (n - 1)) ** (1 / power)."""
    dense = np.linspace(0, 1, 4001)
    found = reschedule(dense, np.diff(dense**power))[:: 4000 // (count - 1)]
    wanted = dense[:: 4000 // (count - 1)] ** (1 / power)
    assert np.allclose(found, wanted, atol=2e-3)
    assert np.allclose(np.diff(found**power), np.diff(found**power).mean(), atol=5e-3)


def test_rescheduling_keeps_ends_order_and_what_does_not_move() -> None:
    places = np.linspace(0, 1, 5)
    assert reschedule(places, np.zeros(4)).tolist() == places.tolist()
    found = reschedule(places, np.array([0.0, 3.0, 1.0, 0.0]))
    assert found[0] == 0
    assert found[-1] == 1
    assert (np.diff(found) >= 0).all()
    assert found[1] == pytest.approx(
        0.25 + 0.25 / 3
    )  # a quarter of the way: the first third of the second step
