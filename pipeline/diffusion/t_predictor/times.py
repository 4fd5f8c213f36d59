"""times.csv: the predicted t of every image. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import Split

FILE = "times.csv"

TOLERANCE = 0.01
"""In units of t: a spread below it is that of a predictor that tells no images apart."""


def spread(t: np.ndarray) -> float:
    """The root mean square distance of t [n, t_dim] from their mean."""
    wide = np.asarray(t, dtype=np.float64)
    return float(np.sqrt(np.square(wide - wide.mean(axis=0)).sum(axis=1).mean()))


def t_columns(table: pd.DataFrame) -> list[str]:
    """The names of the columns of `table` that hold t: t0, and t1 and t2 if it has so many dimensions."""
    return [name for name in ("t0", "t1", "t2") if name in table]


def times_table(domain: str, split: Split, names: Sequence[str], t: np.ndarray) -> pd.DataFrame:
    """The rows of times.csv for one split of a domain: domain, split, name, t0[, t1, t2]. t: float32 [n, t_dim]."""
    columns = {"domain": domain, "split": split, "name": list(names)}
    return pd.DataFrame(columns | {f"t{axis}": t[:, axis] for axis in range(t.shape[1])})


def write_times(path: Path, table: pd.DataFrame) -> None:
    """Write `table` with digits enough that every float32 is read as it was."""
    write_atomic(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def read_times(path: Path) -> pd.DataFrame:
    """What `write_times` wrote: columns domain, split and name as text, t0[, t1, t2] as float32."""
    text = dict.fromkeys(("domain", "split", "name"), str)
    table = pd.read_csv(path, dtype=text, keep_default_na=False, float_precision="round_trip")
    return table.astype(dict.fromkeys(t_columns(table), np.float32))


def times_of(artifact: Path, domain: str, split: Split, names: Sequence[str]) -> np.ndarray:
    """The t of the images `names` of one split of `domain`, in that order: float32 [n, t_dim].

    artifact: of a `t_predictor` job. UserError if it has no t of an image.
    """
    table = read_times(artifact / FILE)
    rows = table[(table["domain"] == domain) & (table["split"] == split)].set_index("name")
    missing = [name for name in names if name not in rows.index]
    if missing:
        raise UserError(
            f"{artifact / FILE} has no t of {len(missing)} of {len(names)} images of {domain} ({split}), such as "
            f"{missing[0]}; delete {artifact}, it will be made again"
        )
    return rows.loc[list(names), t_columns(table)].to_numpy()
