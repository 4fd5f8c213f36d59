"""Scores sequences of frames by method: how smooth they are and, beside reference images, how near to these."""

from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.core.errors import UserError
from pipeline.metrics.definitions import fid, full_rank, kid, smoothness
from pipeline.metrics.distances import Distances
from pipeline.metrics.features import Features
from pipeline.metrics.frames import Sequence

COLUMNS = ["method", "sequences", "frames", "PPL", "PPL variation", "FID", "KID"]


@dataclass(frozen=True)
class Scores:
    """table: a row for each method, with COLUMNS; FID and KID are NaN where they are not known. notes: why."""

    table: pd.DataFrame
    notes: list[str]


def score(
    sequences: Many[Sequence],
    distances: Distances,
    features: Features | None = None,
    reference: np.ndarray | None = None,
) -> Scores:
    """PPL: the sum of the distances between neighbouring frames, mean over the sequences of a method; its variation likewise.

    reference: uint8 [m, H, W, 3], of the frames' size, with which FID and KID compare all frames of a method together.
    Where there are not more images than features, a covariance has not full rank: FID is then left out, which a note
    says, and KID stands for it. UserError if sizes differ.
    """
    known = None
    if reference is not None:
        for one in sequences:
            _same_size(one, reference)
        known = features(reference)
    rows, notes = [], []
    for method in dict.fromkeys(one.method for one in sequences):
        own = [one.frames for one in sequences if one.method == method]
        paths = [smoothness(distances(frames)) for frames in own]
        row = [
            method,
            len(own),
            sum(map(len, own)),
            np.mean([path.ppl for path in paths]),
            np.mean([path.variation for path in paths]),
        ]
        if known is None:
            near, note = [np.nan, np.nan], None
        else:
            near, note = _near(features(np.concatenate(own)), known)
        rows.append([*row, *near])
        notes += [f"{method}: {note}"] if note else []
    return Scores(pd.DataFrame(rows, columns=COLUMNS), notes)


def _near(made: np.ndarray, known: np.ndarray) -> tuple[list[float], str | None]:
    """FID and KID, and what is to be said of them."""
    fewest, size = min(len(made), len(known)), made.shape[1]
    if full_rank(fewest, size):
        return [fid(made, known), kid(made, known)], None
    return [np.nan, kid(made, known)], (
        f"no FID, for the covariance of {size} features needs more than {size} images, and there are {len(made)} frames "
        f"and {len(known)} reference images; KID needs no covariance"
    )


def _same_size(one: Sequence, reference: np.ndarray) -> None:
    (h, w), (height, width) = one.frames.shape[1:3], reference.shape[1:3]
    if (h, w) != (height, width):
        raise UserError(
            f"the frames in {one.folder} are {w}x{h}, but the reference images are {width}x{height}; expected one size, "
            "for resizing would change the score"
        )
