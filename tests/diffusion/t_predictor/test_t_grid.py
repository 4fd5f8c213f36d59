"""At which t new domains are made: laws of the grid and of the distance to a hull."""

import itertools
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from scipy.optimize import linprog
from scipy.spatial.distance import pdist

from pipeline.config import GridSettings
from pipeline.core.errors import UserError
from pipeline.diffusion.t_predictor.t_grid import (
    Hull,
    evenly_spread,
    grid_points,
    regular_grid,
)

coordinates = st.floats(-3, 3, width=32)
clouds = st.integers(1, 3).flatmap(
    lambda d: hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(d)), elements=coordinates)
)


@st.composite
def flat_clouds(draw: st.DrawFn) -> np.ndarray:
    """Points on a line or a plane of two or three dimensions."""
    d = draw(st.integers(2, 3))
    rank = draw(st.integers(1, d - 1))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return rng.normal(size=(draw(st.integers(2, 30)), rank)) @ rng.normal(size=(rank, d)) + rng.normal(size=d)


any_cloud = st.one_of(clouds, flat_clouds())


def distance(point: np.ndarray, hull: Hull) -> float:
    return float(hull.distances(point[None])[0])


def in_hull(point: np.ndarray, cloud: np.ndarray) -> bool:
    """Whether weights exist that make `point` of `cloud`, by linear programming."""
    equations = np.vstack([cloud.T, np.ones(len(cloud))])
    return linprog(np.zeros(len(cloud)), A_eq=equations, b_eq=np.append(point, 1.0)).status == 0


@given(any_cloud, st.integers(0, 10**6))
def test_mixtures_of_points_are_at_distance_0(cloud: np.ndarray, seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.full(len(cloud), 0.5))
    assert distance(weights @ cloud, Hull.of(cloud)) == pytest.approx(0, abs=1e-7)


@settings(deadline=None)
@given(any_cloud, st.integers(0, 10**6))
def test_inside_is_what_linear_programming_says(cloud: np.ndarray, seed: int) -> None:
    low, high = cloud.min(axis=0), cloud.max(axis=0)
    point = np.random.default_rng(seed).uniform(low, high)
    far = distance(point, Hull.of(cloud))
    assert far < 1e-5 if in_hull(point, cloud) else far > 1e-9  # the solver has a tolerance of 1e-7


@given(any_cloud, st.integers(0, 10**6))
def test_no_mixture_is_nearer_and_a_plane_parts_point_and_hull(cloud: np.ndarray, seed: int) -> None:
    """Two certificates: mixtures bound the distance from above, and every direction bounds it from below."""
    rng, d = np.random.default_rng(seed), cloud.shape[1]
    point = 4 * rng.normal(size=d)
    far = distance(point, Hull.of(cloud))
    mixtures = rng.dirichlet(np.full(len(cloud), 0.3), 200) @ cloud
    assert far <= np.linalg.norm(mixtures - point, axis=1).min() + 1e-7
    directions = rng.normal(size=(200, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    gaps = (directions @ point) - (directions @ cloud.T).max(axis=1)
    assert far >= gaps.max() - 1e-7


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5))
@example(0.0, -3.8648120607035485, 0.0)  # scipy's nnls finds no nearest weights for it
def test_distances_that_are_known(x: float, y: float, z: float) -> None:
    box = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    point = np.array([x, y, z])
    outside = np.linalg.norm(np.maximum(abs(point) - 1, 0))
    assert distance(point, Hull.of(box)) == pytest.approx(outside, abs=1e-7)
    square = box * [1, 1, 0]  # flat
    outside = np.linalg.norm([*np.maximum(abs(point[:2]) - 1, 0), z])
    assert distance(point, Hull.of(square)) == pytest.approx(outside, abs=1e-7)
    assert distance(point, Hull.of(np.zeros((1, 3)))) == pytest.approx(np.linalg.norm(point), abs=1e-7)
    assert distance(point[:1], Hull.of(np.array([[-2.0], [1.0]]))) == pytest.approx(
        max(x - 1, -2 - x, 0), abs=1e-7
    )


@given(any_cloud, st.floats(1e-6, 1e6))
def test_distances_scale(cloud: np.ndarray, factor: float) -> None:
    point = np.full(cloud.shape[1], 3.5)
    far = distance(point, Hull.of(cloud))
    scaled = distance(factor * point, Hull.of(factor * cloud))
    assert scaled == pytest.approx(factor * far, rel=1e-6, abs=1e-7 * factor)


@settings(max_examples=40, deadline=None)
@given(any_cloud, st.sampled_from([0.0, 0.3, 1.0]))
def test_kept_are_the_grid_points_in_the_hull_or_within_the_margin(cloud: np.ndarray, margin: float) -> None:
    assume(np.linalg.norm(cloud - cloud.mean(axis=0), axis=1).max() > 0.1)
    wanted = GridSettings(range=(-2, 2), step=1.0, margin=margin, fallback=[[99.0] * cloud.shape[1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = set(grid_points(cloud, wanted)) - {(99.0,) * cloud.shape[1]}
    hull = Hull.of(cloud)
    for point in regular_grid(wanted, cloud.shape[1]):
        far = distance(point, hull)
        if abs(far - margin) > 1e-6:  # on the border, rounding decides
            assert (tuple(point) in kept) == (far < margin)


def test_without_a_margin_the_whole_grid_is_made() -> None:
    """81 points, as the authors of Terra make them, even where all predicted t are alike."""
    whole = grid_points(np.zeros((5, 2)), GridSettings(margin=None))
    assert whole == list(itertools.product(np.arange(-2, 2.5, 0.5).tolist(), repeat=2))
    assert len(grid_points(np.zeros((5, 2)), GridSettings(margin=None, points=9))) == 9


def test_a_grid_is_what_one_expects() -> None:
    triangle = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    inside = GridSettings(range=(-1, 2), step=0.5, margin=0.0)
    expected = [(0.0, 0.0), (0.0, 0.5), (0.0, 1.0), (0.5, 0.0), (0.5, 0.5), (1.0, 0.0)]
    assert grid_points(triangle, inside) == expected
    around = {(-0.5, 0), (-0.5, 0.5), (-0.5, 1), (0, -0.5), (0.5, -0.5), (1, -0.5), (0, 1.5), (1.5, 0)}
    around |= {(0.5, 1), (1, 0.5)}  # these are 0.35 from the long edge; (1, 1) is 0.71
    assert set(grid_points(triangle, GridSettings(range=(-1, 2), step=0.5, margin=0.5))) == around | set(
        expected
    )
    line = np.array([[-1.0], [0.6], [0.2]])
    assert grid_points(line, GridSettings(step=0.4, margin=0.25)) == [
        (-1.2,),
        (-0.8,),
        (-0.4,),
        (0.0,),
        (0.4,),
        (0.8,),
    ]
    assert grid_points(line, GridSettings(range=(-2, 2), step=0.1, margin=0))[:3] == [
        (-1.0,),
        (-0.9,),
        (-0.8,),
    ]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 12))
def test_fewer_points_are_spread_evenly(t_dim: int, count: int) -> None:
    cloud = np.random.default_rng(0).normal(size=(200, t_dim))
    every = grid_points(cloud, GridSettings())
    some = grid_points(cloud, GridSettings(points=count))
    assert len(some) == min(count, len(every))
    assert some == sorted(some)
    assert set(some) <= set(every)
    assert some == grid_points(cloud[::-1], GridSettings(points=count)), "the order of images does not matter"
    if 1 < count < len(every):
        # A point left out is never farther from the chosen than the chosen are from one another.
        left = np.array(sorted(set(every) - set(some)))
        gaps = np.linalg.norm(left[:, None] - np.array(some)[None], axis=-1).min(axis=1)
        assert gaps.max() <= pdist(np.array(some)).min() + 1e-9


def test_the_first_points_are_the_middle_and_the_ends() -> None:
    axis = np.arange(9.0)[:, None]
    assert evenly_spread(axis, 3, np.array([4.0]))[:, 0].tolist() == [0, 4, 8]
    assert evenly_spread(axis, 5, np.array([4.0]))[:, 0].tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("t_dim", [1, 2, 3])
def test_a_degenerate_predictor_falls_back_with_its_numbers(t_dim: int) -> None:
    times = 0.25 + 1e-4 * np.random.default_rng(0).normal(size=(50, t_dim))
    with pytest.warns(UserWarning, match=r"from \[0\.2.*spread of \S*\d; .*the \d points of grid.fallback"):
        points = grid_points(times, GridSettings(range=(-1, 3)))
    assert points == [(1.0,) * t_dim, *itertools.product((-1.0, 3.0), repeat=t_dim)]
    stated = [[0.5] * t_dim, [0.0] * t_dim]
    with pytest.warns(UserWarning, match="the 2 points of grid.fallback"):
        assert grid_points(times, GridSettings(fallback=stated)) == [tuple(point) for point in stated]
    wrong = GridSettings(fallback=[[0.0] * (t_dim + 1)])
    with pytest.raises(UserError, match=f"has {t_dim + 1} numbers, but adapter.t_dim is {t_dim}"):
        grid_points(times, wrong)


def test_a_grid_that_is_nowhere_near_falls_back_with_its_numbers() -> None:
    far = np.array([[7.0, 7.0], [8.0, 9.0]])
    with pytest.warns(UserWarning, match=r"from \[7.0, 7.0\] to \[8.0, 9.0\].*is within 0.5 of them"):
        assert len(grid_points(far, GridSettings())) == 5


def test_what_makes_no_grid_is_refused_in_words() -> None:
    with pytest.raises(UserError, match="is not finite"):
        grid_points(np.array([[0.0], [np.nan]]), GridSettings())
    with pytest.raises(UserError, match=r"makes 401\^3 points, more than 20000; take a larger step"):
        grid_points(np.eye(3), GridSettings(step=0.01))
    with pytest.raises(ValidationError, match="low below high"):
        GridSettings(range=(2, -2))


def test_the_grid_imports_no_torch() -> None:
    code = (
        "import sys; import pipeline.diffusion.t_predictor.t_grid, pipeline.diffusion.t_predictor.times;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
