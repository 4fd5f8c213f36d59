"""The form of the records of one setting: columns, what identifies a record, and the numbers to compare."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.names import check_path_name

DONE, FAILED = "done", "failed"
"""The values of the column `status`."""


def number(text: str) -> float:
    """Parse a number from 0.

    Raises:
        ValueError: It is negative, infinite or NaN.
    """
    value = float(text)
    if not 0 <= value < math.inf:  # NaN fails this too
        raise ValueError(text)
    return value


def optional(parse: Callable[[str], float]) -> Callable[[str], float]:
    """Return a parser that reads an empty field as NaN."""
    return lambda text: math.nan if text == "" else parse(text)


def whole_number(text: str) -> int:
    """Parse a whole number from 0.

    Raises:
        ValueError: It is something else.
    """
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def status(text: str) -> str:
    """Parse the status of a record.

    Raises:
        ValueError: It is neither `done` nor `failed`.
    """
    if text not in (DONE, FAILED):
        raise ValueError(text)
    return text


def as_text(value: Any) -> Any:
    """Return a value as csv.writer shall write it; None and NaN become empty fields."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


@dataclass(frozen=True)
class Column:
    """A column of records.csv.

    Attributes:
        name: Its name.
        parse: Reads a field; raises ValueError or TypeError for one that is wrong.
        expected: What `parse` expects, in words.
        format: Turns a value into what csv.writer writes.
        dtype: The dtype in a DataFrame, if pandas does not find it.
        default: Its value where a row lacks the column.
    """

    name: str
    parse: Callable[[str], Any] = str
    expected: str = "a text"
    format: Callable[[Any], Any] = as_text
    dtype: str | None = None
    default: str | None = None


def names(*columns: str) -> tuple[Column, ...]:
    """Return columns of names that become parts of paths where records are exported or a suite is read."""
    return tuple(
        Column(name, check_path_name, "a name that a file can have, of at most 100 characters")
        for name in columns
    )


STATUS = Column("status", status, "done or failed", default=DONE)
REASON = Column("reason", default="")
SECONDS = Column("seconds", number, "a number from 0", dtype="float64")
"""Columns of every schema."""


@dataclass(frozen=True)
class Measure:
    """A number that runs are compared by.

    Attributes:
        column: Its column.
        higher_is_better: Whether a higher number is better.
    """

    column: str
    higher_is_better: bool


@dataclass(frozen=True)
class Schema:
    """The form of the records of one setting.

    Attributes:
        columns: All columns in order. A file may hold more, which are read as text.
        identity: The columns that tell one record from another; `seed` is among them where there are seeds.
        measures: What runs are compared by. The first is missing in the record of a failed job, and only
            there.
        unit: What one record is of: "training", "morph method".
        cell_name: Returns the name of a cell in words, from its columns of `identity`.
        variants: The columns of `identity` in which records of one job differ.
    """

    columns: tuple[Column, ...]
    identity: tuple[str, ...]
    measures: tuple[Measure, ...]
    unit: str
    cell_name: Callable[[Mapping[Any, Any]], str] = field(repr=False)
    variants: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    @property
    def required(self) -> set[str]:
        """The names of the columns that every record has."""
        return {column.name for column in self.columns if column.default is None}

    @property
    def dtypes(self) -> dict[str, str]:
        """The dtypes of the columns that pandas does not find by itself."""
        return {column.name: column.dtype for column in self.columns if column.dtype is not None}
