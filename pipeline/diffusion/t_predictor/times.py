"""Write and read times.csv, the predicted t of every image. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import Split

FILE = "times.csv"

TOLERANCE = 0.01
"""In units of t: a predictor whose spread is at most this does not separate images."""


def spread(t: np.ndarray) -> float:
    """Compute the root mean square distance of t, [n, t_dim], from their mean."""
    wide = np.asarray(t, dtype=np.float64)
    return float(np.sqrt(np.square(wide - wide.mean(axis=0)).sum(axis=1).mean()))


def t_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of `table` that hold t: t0, and t1 and t2 if t has more dimensions."""
    return [name for name in ("t0", "t1", "t2") if name in table]


def times_table(domain: str, split: Split, names: Sequence[str], t: np.ndarray) -> pd.DataFrame:
    """Make the rows of times.csv of one split of a domain.

    Args:
        domain: The domain.
        split: The split.
        names: The names of its n images.
        t: The t of these images, float32 [n, t_dim].

    Returns:
        Columns domain, split, name, t0[, t1, t2].
    """
    columns = {"domain": domain, "split": split, "name": list(names)}
    return pd.DataFrame(columns | {f"t{axis}": t[:, axis] for axis in range(t.shape[1])})


def write_times(path: Path, table: pd.DataFrame) -> None:
    """Write `table` with enough digits to read every float32 unchanged."""
    write_atomic(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def read_times(path: Path) -> pd.DataFrame:
    """Read what `write_times` wrote: columns domain, split and name as text, t0[, t1, t2] as float32."""
    text = dict.fromkeys(("domain", "split", "name"), str)
    table = pd.read_csv(path, dtype=text, keep_default_na=False, float_precision="round_trip")
    return table.astype(dict.fromkeys(t_columns(table), np.float32))


def times_of(artifact: Path, domain: str, split: Split, names: Sequence[str]) -> np.ndarray:
    """Look up the t of images.

    Args:
        artifact: The artifact of a `t_predictor` job.
        domain: The domain of the images.
        split: Their split.
        names: The names of n images.

    Returns:
        float32 [n, t_dim], in the order of `names`.

    Raises:
        UserError: An image has no t.
    """
    table = read_times(artifact / FILE)
    rows = table[(table["domain"] == domain) & (table["split"] == split)].set_index("name")
    missing = [name for name in names if name not in rows.index]
    if missing:
        raise UserError(
            f"{artifact / FILE} has no t of {len(missing)} of {len(names)} images of {domain} ({split}), "
            f"such as {missing[0]}; delete {artifact}, and the next run makes it again"
        )
    return rows.loc[list(names), t_columns(table)].to_numpy()
