"""CSV files that may be opened in a spreadsheet: no cell is taken for a formula.

records.csv is not written here, because this program reads it.
"""

import pandas as pd

from pipeline.core.text import csv_cell


def to_csv(frame: pd.DataFrame, float_format: str | None = None) -> str:
    """Return `frame` as CSV without its index; `float_format` is as in pandas."""
    texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    safe = frame.assign(**{name: frame[name].map(csv_cell) for name in texts}).rename(columns=csv_cell)
    written: str = safe.to_csv(index=False, float_format=float_format, lineterminator="\n")
    return written
