"""Reads the times.csv of a t-predictor: the predicted t of every image of the source domains."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.domains import Split
from pipeline.errors import UserError

TEXT = dict.fromkeys(("domain", "split", "name"), str)


def read_times(artifact: Path) -> pd.DataFrame:
    """times.csv of a t-predictor's artifact: columns domain, split, name as text, and the numbers t0, t1, ..."""
    try:
        return pd.read_csv(artifact / "times.csv", dtype=TEXT, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{artifact}/times.csv cannot be read ({error}); delete {artifact}, it will be made again"
        ) from error


def points_of(table: pd.DataFrame) -> np.ndarray:
    """The predicted t of the rows of `table`: float32 [n, t_dim]."""
    return table.filter(regex=r"^t\d+$").to_numpy(np.float32)


def times_of(artifact: Path, domain: str, names: Sequence[str], split: Split = "train") -> np.ndarray:
    """float32 [n, t_dim], the predicted t of the images `names` of `domain`; UserError if one has none."""
    table = read_times(artifact)
    table = table[(table["domain"] == domain) & (table["split"] == split)].set_index("name")
    lacking = sorted(set(names) - set(table.index))
    if lacking:
        raise UserError(f"{artifact}/times.csv has no t for image {lacking[0]!r} of {domain}")
    return points_of(table.loc[list(names)])
