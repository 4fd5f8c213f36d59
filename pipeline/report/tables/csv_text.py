"""CSV files that may be opened in a spreadsheet: no cell is taken for a formula.

records.csv is not written here, because this program reads it.
"""

import re
from typing import Any

import pandas as pd

_FORMULA = re.compile(r"[=+@\t\r]|-(?!>\w+( error)?$)")
"""The beginning of a cell that a spreadsheet would compute. The columns `->MN` and `->MN error` are text."""


def csv_cell(value: Any) -> Any:
    """Return a value for a cell: a text that a spreadsheet would compute has an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def to_csv(frame: pd.DataFrame, float_format: str | None = None) -> str:
    """Return `frame` as CSV without its index; `float_format` is as in pandas."""
    texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    safe = frame.assign(**{name: frame[name].map(csv_cell) for name in texts}).rename(columns=csv_cell)
    written: str = safe.to_csv(index=False, float_format=float_format, lineterminator="\n")
    return written
