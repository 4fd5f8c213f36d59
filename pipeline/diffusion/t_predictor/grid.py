"""At which t new domains are made: between the predicted t of the source domains, and a little beyond. No torch."""

import itertools
import warnings

import numpy as np
from scipy.optimize import nnls
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from pipeline.config import GridSettings
from pipeline.diffusion.t_predictor.times import TOLERANCE, spread
from pipeline.errors import UserError

Point = tuple[float, ...]

MOST = 20_000
"""Of the points of a regular grid: enough for 27 in each of three dimensions."""

DIGITS = 9
"""To which the numbers of a point are rounded, so that -2 + 3 * 0.1 is -1.7."""

ROUNDING = 1e-9
"""How far, in units of the hull's size, rounding may put a point that lies on an edge."""


def regular_grid(settings: GridSettings, t_dim: int) -> np.ndarray:
    """All points of the grid, float64 [k, t_dim], the last coordinate running fastest. UserError if k > MOST."""
    low, high = settings.range
    each = int(np.floor((high - low) / settings.step + 1e-9)) + 1
    if each**t_dim > MOST:
        raise UserError(
            f"grid: step {settings.step} over range {list(settings.range)} makes {each}^{t_dim} points, "
            f"more than {MOST}; take a larger step"
        )
    axis = np.round(low + settings.step * np.arange(each), DIGITS)
    return np.array(list(itertools.product(axis, repeat=t_dim)))


def hull_corners(points: np.ndarray) -> np.ndarray:
    """Those of `points` [n, d] that span their convex hull: float64 [m, d].

    Flat hulls are those of points on a line or a plane: their corners are found in the space that they fill.
    """
    centred = points - points.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    filled = centred @ axes[sizes > ROUNDING * max(sizes[0], np.abs(points).max())].T
    match filled.shape[1]:
        case 0:
            return points[:1]
        case 1:
            return points[[filled.argmin(), filled.argmax()]]
        case _:
            return points[ConvexHull(filled).vertices]


def distance_to_hull(point: np.ndarray, corners: np.ndarray) -> float:
    """The Euclidean distance of `point` [d] from the convex hull of `corners` [m, d]; 0 inside it.

    Exact for any d and for flat hulls, as a least squares problem over u >= 0: |W u|^2 + (sum u - 1)^2, with the
    columns of W the corners as seen from the point. With u = s v and v summing to 1, the best s leaves
    q / (1 + q), q = |W v|^2, which grows with q: so v are the weights of the hull's point that is nearest.
    """
    seen = (corners - point).T
    size = np.abs(seen).max()
    if size == 0:
        return 0.0
    weights, _ = nnls(np.vstack([seen / size, np.ones(len(corners))]), np.append(np.zeros(len(point)), 1.0))
    return float(np.linalg.norm(seen @ weights) / weights.sum())


def evenly_spread(points: np.ndarray, count: int, centre: np.ndarray) -> np.ndarray:
    """`count` of `points` [k, d]: the one nearest to `centre`, then always the one farthest from those taken.

    Of equally far ones the first is taken. They come in the order of `points`.
    """
    chosen = [int(cdist(points, centre[None]).round(DIGITS).argmin())]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, cdist(points, points[chosen[-1:]])[:, 0])
        chosen.append(int(nearest.round(DIGITS).argmax()))
    return points[sorted(chosen)]


def grid_points(times: np.ndarray, settings: GridSettings) -> list[Point]:
    """The points of the grid that lie in the convex hull of `times` [n, t_dim] or within `margin` of it.

    If there are more than `settings.points`, so many, evenly spread. If the predictor is degenerate (times.spread is
    at most TOLERANCE), or no point is near: the fallback, with a warning. UserError if `times` are not finite or
    the fallback is of another dimension.
    """
    times = np.asarray(times, dtype=np.float64)
    if not np.isfinite(times).all():
        raise UserError(
            "grid: a predicted t is not finite: the t-predictor diverged; lower its learning_rate"
        )
    spread_out = spread(times)
    if spread_out <= TOLERANCE:
        return _fall_back(f"all predicted t lie within a spread of {spread_out:.2g}", times, settings)
    grid, corners = regular_grid(settings, times.shape[1]), hull_corners(times)
    reach = settings.margin + ROUNDING * np.abs([times.max(), times.min(), *settings.range]).max()
    near = grid[[distance_to_hull(point, corners) <= reach for point in grid]]
    if not len(near):
        why = f"no point of step {settings.step} over {list(settings.range)} is within {settings.margin} of them"
        return _fall_back(why, times, settings)
    if settings.points is not None and len(near) > settings.points:
        near = evenly_spread(near, settings.points, times.mean(axis=0))
    return _as_points(near)


def _fall_back(why: str, times: np.ndarray, settings: GridSettings) -> list[Point]:
    """The points that the suite states for want of a grid, or the centre and the corners of its range."""
    t_dim, stated = times.shape[1], settings.fallback
    if stated is None:
        stated = [[sum(settings.range) / 2] * t_dim, *itertools.product(settings.range, repeat=t_dim)]
    for point in stated:
        if len(point) != t_dim:
            raise UserError(
                f"grid.fallback: {list(point)} has {len(point)} numbers, but adapter.t_dim is {t_dim}"
            )
    low, high = (ends.round(4).tolist() for ends in (times.min(axis=0), times.max(axis=0)))
    warnings.warn(
        f"the predicted t, from {low} to {high}, make no grid: {why}; new domains are made at the "
        f"{len(stated)} points of grid.fallback instead",
        stacklevel=3,
    )
    return _as_points(np.array(stated, dtype=np.float64))


def _as_points(points: np.ndarray) -> list[Point]:
    return [tuple(point) for point in (points + 0.0).tolist()]  # -0.0 becomes 0.0
