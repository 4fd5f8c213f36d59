"""Choose the t of new domains: between the source domains and a little beyond. Imports no torch."""

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

MAX_POINTS = 20_000
"""The largest number of points of a regular grid: enough for 27 in each of three dimensions."""

DECIMALS = 9
"""The decimals to which the numbers of a point are rounded, so that -2 + 3 * 0.1 is -1.7."""

ROUNDING = 1e-9
"""How far rounding may move a point that lies on an edge, in units of the hull's size."""


def regular_grid(settings: GridSettings, t_dim: int) -> np.ndarray:
    """Make all points of a grid, float64 [k, t_dim], whose last coordinate changes fastest.

    Raises:
        UserError: There are more than MAX_POINTS.
    """
    low, high = settings.range
    each = int(np.floor((high - low) / settings.step + 1e-9)) + 1
    if each**t_dim > MAX_POINTS:
        raise UserError(
            f"grid: step {settings.step} over range {list(settings.range)} makes {each}^{t_dim} points, "
            f"more than {MAX_POINTS}; take a larger step"
        )
    axis = np.round(low + settings.step * np.arange(each), DECIMALS)
    return np.array(list(itertools.product(axis, repeat=t_dim)))


@dataclass(frozen=True)
class Hull:
    """The convex hull of points in d dimensions. It may be flat: it spans a subspace of r <= d dimensions.

    Attributes:
        origin: A point of the subspace, float64 [d].
        axes: Orthonormal axes of the subspace, float64 [r, d].
        equations: The facets, float64 [f, r + 1]: the outward normal in the first r numbers, then the offset.
        faces: The facets and the lower-dimensional faces between them. Entry k - 1 holds the corners of the m
            faces with k corners, float64 [m, k, r].
    """

    origin: np.ndarray
    axes: np.ndarray
    equations: np.ndarray
    faces: list[np.ndarray]

    @classmethod
    def of(cls, points: np.ndarray) -> "Hull":
        """Compute the hull of `points`, float64 [n, d]."""
        origin = points.mean(axis=0)
        _, sizes, axes = np.linalg.svd(points - origin, full_matrices=False)
        axes = axes[sizes > ROUNDING * max(sizes[0], np.abs(points).max())]
        projected, r = (points - origin) @ axes.T, len(axes)
        if r == 0:
            return cls(origin, axes, np.empty((0, 1)), [])
        if r == 1:  # Qhull needs two dimensions
            low, high = projected.min(), projected.max()
            ends = np.array([low, high])[:, None, None]
            return cls(origin, axes, np.array([[-1.0, low], [1.0, -high]]), [ends])
        hull = ConvexHull(projected)
        faces = []
        for k in range(1, r + 1):
            corners = [hull.simplices[:, chosen] for chosen in itertools.combinations(range(r), k)]
            faces.append(projected[np.unique(np.sort(np.concatenate(corners), axis=1), axis=0)])
        return cls(origin, axes, hull.equations, faces)

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Compute the Euclidean distances of `points`, [n, d], to the hull, 0 inside: float64 [n].

        The distance to the subspace and the distance within it are the legs of a right triangle. Within the
        subspace, a point outside is as far from the hull as from the nearest face onto which it projects.
        """
        centred = points - self.origin
        projected = centred @ self.axes.T
        to_subspace = np.linalg.norm(centred - projected @ self.axes, axis=1)
        outside = (projected @ self.equations[:, :-1].T + self.equations[:, -1] > 0).any(axis=1)
        within = np.zeros(len(points))
        if outside.any():
            within[outside] = np.min([_to_faces(projected[outside], faces) for faces in self.faces], axis=0)
        return np.hypot(to_subspace, within)


def _to_faces(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Compute the distance of each point to the nearest face onto which it projects.

    A projection that rounding moves beside a face is found on the face's border instead.

    Args:
        points: [n, r].
        faces: The corners of m faces, [m, k, r].

    Returns:
        [n]; infinity for a point that projects onto none of the faces.
    """
    first, edges = faces[:, 0], faces[:, 1:] - faces[:, :1]
    offsets = points[:, None] - first  # [n, m, r]
    shares = np.einsum("nmr,mre->nme", offsets, np.linalg.pinv(edges))  # of the corners after the first
    gaps = np.linalg.norm(offsets - np.einsum("nme,mer->nmr", shares, edges), axis=2)
    on_face = (shares >= 0).all(axis=2) & (shares.sum(axis=2) <= 1)
    return np.where(on_face, gaps, np.inf).min(axis=1)


def evenly_spread(points: np.ndarray, count: int, centre: np.ndarray) -> np.ndarray:
    """Choose points far apart: first the nearest to `centre`, then always the farthest from those chosen.

    Args:
        points: [k, d]. The first of equally far points is chosen.
        count: How many to choose.
        centre: [d].

    Returns:
        [count, d], in the order of `points`.
    """
    chosen = [int(cdist(points, centre[None]).round(DECIMALS).argmin())]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, cdist(points, points[chosen[-1:]])[:, 0])
        chosen.append(int(nearest.round(DECIMALS).argmax()))
    return points[sorted(chosen)]


def grid_points(times: np.ndarray, settings: GridSettings) -> list[Point]:
    """Choose the points of the grid that lie in the convex hull of the predicted t, or within `margin` of it.

    Without a margin, all points are chosen, whatever was predicted.

    More than `settings.points` points are thinned out evenly. If the predictor is degenerate (its spread is
    at most TOLERANCE) or no point is near, the fallback is taken, with a warning.

    Args:
        times: The predicted t, [n, t_dim].
        settings: The grid.

    Raises:
        UserError: A predicted t is not finite, or the fallback has another dimension.
    """
    times = np.asarray(times, dtype=np.float64)
    if not np.isfinite(times).all():
        raise UserError(
            "grid: a predicted t is not finite: the t-predictor diverged; lower its learning_rate"
        )
    grid = regular_grid(settings, times.shape[1])
    if settings.margin is None:
        return _thinned(grid, times, settings)
    total_spread = spread(times)
    if total_spread <= TOLERANCE:
        return _fallback(f"all predicted t lie within a spread of {total_spread:.2g}", times, settings)
    reach = settings.margin + ROUNDING * np.abs([times.max(), times.min(), *settings.range]).max()
    near = grid[Hull.of(times).distances(grid) <= reach]
    if not len(near):
        reason = (
            f"no point of step {settings.step} over {list(settings.range)} "
            f"is within {settings.margin} of them"
        )
        return _fallback(reason, times, settings)
    return _thinned(near, times, settings)


def _thinned(points: np.ndarray, times: np.ndarray, settings: GridSettings) -> list[Point]:
    """Thin `points` out evenly if they are more than `settings.points`."""
    if settings.points is not None and len(points) > settings.points:
        points = evenly_spread(points, settings.points, times.mean(axis=0))
    return _as_points(points)


def _fallback(reason: str, times: np.ndarray, settings: GridSettings) -> list[Point]:
    """Return `grid.fallback`, or the centre and the corners of the grid's range, with a warning."""
    t_dim = times.shape[1]
    if settings.fallback is None:
        centre = (sum(settings.range) / 2,) * t_dim
        points = [centre, *itertools.product(settings.range, repeat=t_dim)]
    else:
        points = [tuple(point) for point in settings.fallback]
    for point in points:
        if len(point) != t_dim:
            raise UserError(
                f"grid.fallback: {list(point)} has {len(point)} numbers, but adapter.t_dim is {t_dim}"
            )
    low, high = (bound.round(4).tolist() for bound in (times.min(axis=0), times.max(axis=0)))
    warnings.warn(
        f"the predicted t, from {low} to {high}, make no grid: {reason}; new domains are made at the "
        f"{len(points)} points of grid.fallback instead",
        Remark,
        stacklevel=3,
    )
    return _as_points(np.array(points, dtype=np.float64))


def _as_points(points: np.ndarray) -> list[Point]:
    """Convert [k, t_dim] to tuples; adding 0.0 turns -0.0 into 0.0."""
    return [tuple(point) for point in (points + 0.0).tolist()]
