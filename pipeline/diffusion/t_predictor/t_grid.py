"""At which t new domains are made: between the predicted t of the source domains, and a little beyond. No torch."""

import itertools
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from pipeline.config import GridSettings
from pipeline.core.errors import Remark, UserError
from pipeline.diffusion.t_predictor.times import TOLERANCE, spread

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


@dataclass(frozen=True)
class Hull:
    """The convex hull of points in d dimensions, which may be flat: it fills a space of r <= d dimensions.

    origin: float64 [d], and axes, float64 [r, d], orthonormal: that space. equations: float64 [f, r + 1], whose
    first r numbers are a facet's outward normal and whose last is its offset. faces: the facets and all that bounds
    them, for k = 1 to r the corners of those of k corners, float64 [m, k, r].
    """

    origin: np.ndarray
    axes: np.ndarray
    equations: np.ndarray
    faces: list[np.ndarray]

    @classmethod
    def of(cls, points: np.ndarray) -> "Hull":
        """The hull of `points`, float64 [n, d]."""
        origin = points.mean(axis=0)
        _, sizes, axes = np.linalg.svd(points - origin, full_matrices=False)
        axes = axes[sizes > ROUNDING * max(sizes[0], np.abs(points).max())]
        filled, r = (points - origin) @ axes.T, len(axes)
        if r == 0:
            return cls(origin, axes, np.empty((0, 1)), [])
        if r == 1:  # which Qhull does not take
            ends = np.array([filled.min(), filled.max()])
            return cls(origin, axes, np.array([[-1.0, ends[0]], [1.0, -ends[1]]]), [ends[:, None, None]])
        hull = ConvexHull(filled)
        faces = []
        for k in range(1, r + 1):
            corners = [hull.simplices[:, chosen] for chosen in itertools.combinations(range(r), k)]
            faces.append(filled[np.unique(np.sort(np.concatenate(corners), axis=1), axis=0)])
        return cls(origin, axes, hull.equations, faces)

    def distances(self, points: np.ndarray) -> np.ndarray:
        """The Euclidean distances of `points` [n, d] from the hull, 0 inside: float64 [n].

        Pythagoras adds the distance from the filled space to that within it. There, a point outside is as far as
        the nearest of those faces that its foot falls on.
        """
        seen = points - self.origin
        filled = seen @ self.axes.T
        off = np.linalg.norm(seen - filled @ self.axes, axis=1)
        outside = (filled @ self.equations[:, :-1].T + self.equations[:, -1] > 0).any(axis=1)
        within = np.zeros(len(points))
        if outside.any():
            within[outside] = np.min([_to_faces(filled[outside], faces) for faces in self.faces], axis=0)
        return np.hypot(off, within)


def _to_faces(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The distance of each of `points` [n, r] to the nearest of those `faces` [m, k, r] that its foot falls on.

    Infinite where it falls on none. A foot that rounding puts beside a face is found on the face's border.
    """
    first, edges = faces[:, 0], faces[:, 1:] - faces[:, :1]
    seen = points[:, None] - first  # [n, m, r]
    shares = np.einsum("nmr,mre->nme", seen, np.linalg.pinv(edges))  # of the corners after the first
    gaps = np.linalg.norm(seen - np.einsum("nme,mer->nmr", shares, edges), axis=2)
    falls_on = (shares >= 0).all(axis=2) & (shares.sum(axis=2) <= 1)
    return np.where(falls_on, gaps, np.inf).min(axis=1)


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
    grid = regular_grid(settings, times.shape[1])
    reach = settings.margin + ROUNDING * np.abs([times.max(), times.min(), *settings.range]).max()
    near = grid[Hull.of(times).distances(grid) <= reach]
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
        Remark,
        stacklevel=3,
    )
    return _as_points(np.array(stated, dtype=np.float64))


def _as_points(points: np.ndarray) -> list[Point]:
    return [tuple(point) for point in (points + 0.0).tolist()]  # -0.0 becomes 0.0
