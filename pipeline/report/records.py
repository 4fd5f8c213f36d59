"""records.csv, of any setting: one row for each result, from which every table is computed."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config import nearest, read_suite
from pipeline.core.errors import UserError
from pipeline.core.store import check_regular, write_atomic
from pipeline.report.schema import FAILED, Schema
from pipeline.report.suite_report import MODULES, report_for

FILE = "records.csv"

_REMEDY = "run the suite again to write the whole file anew"


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write records to `path` in one step; numbers keep full precision.

    Args:
        path: The file.
        rows: At least one record. All are of one setting and have its columns; those with a default may be
            missing.

    Raises:
        UserError: `read` would refuse a row. Nothing is written.
    """
    schema = report_for(rows[0]["setting"]).schema
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(schema.names)
    for row in rows:
        values = [
            row[column.name] if column.default is None else row.get(column.name, column.default)
            for column in schema.columns
        ]
        try:
            written = [column.format(value) for column, value in zip(schema.columns, values, strict=True)]
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path} is not written, because the record of {row['key']} is damaged ({error}): `verify` "
                "removes damaged artifacts, and `run` makes them again"
            ) from error
        table.writerow(written)
    _parse(file.getvalue(), path)
    write_atomic(path, file.getvalue())


def read(path: Path) -> pd.DataFrame:
    """Read records, with the types of their setting's columns; `per_class` holds lists of float.

    Raises:
        UserError: The file is cut off, a value is out of range, or a record stands there twice. The message
            names file, line and column.
    """
    try:
        check_regular(path)
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: run the suite first") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return _parse(text, path)


def schema_of(records: pd.DataFrame) -> Schema:
    """Return the schema of records that were read; that of trainings if there are none."""
    return report_for(records["setting"].iloc[0] if len(records) else "uda").schema


def locate(run: str, results: Path) -> Path:
    """Find the records.csv that a user means.

    Args:
        run: A records file, a folder that holds one, or the name or path of a suite.
        results: The folder that holds the results folders of suites.

    Raises:
        UserError: `run` names no records file, folder or suite.
    """
    path = Path(run)
    if path.is_dir():
        return path / FILE
    if path.suffix == ".csv":
        return path
    named = results / run / FILE  # a suite outside benchmarks/ that was run
    if path.name == run and named.exists():
        return named
    try:
        return results / read_suite(run).name / FILE
    except UserError as error:
        raise UserError(f"{run!r} is no results folder, no records.csv and no suite: {error}") from error


def _parse(text: str, path: Path) -> pd.DataFrame:
    """The records in `text`, which stands in `path`."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[dict[str, Any]] = []
    first: dict[tuple[Any, ...], int] = {}
    try:
        header = next(lines, [])
        second = next(lines, None)
        schema = _schema(header, second, path)
        _check_header(header, schema, path)
        for fields in chain([] if second is None else [second], lines):
            where = f"{path}, line {lines.line_num}"
            row = _row(header, fields, schema, where)
            identity = tuple(row[name] for name in schema.identity)
            if identity in first:
                raise UserError(f"{where}: repeats the record of line {first[identity]}; remove one of them")
            first[identity] = lines.line_num
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: invalid CSV: {error}; {_REMEDY}") from error
    if not text.endswith("\n"):
        raise UserError(f"{path}, line {lines.line_num}: cut off, because it has no line end; {_REMEDY}")
    return pd.DataFrame(rows, columns=header).astype(schema.dtypes)


def _schema(header: list[str], fields: list[str] | None, path: Path) -> Schema:
    """The schema that the first record's setting has."""
    if fields is None or "setting" not in header or len(fields) != len(header):
        return report_for("uda").schema
    setting = fields[header.index("setting")]
    if setting not in MODULES:
        raise UserError(f"{path}, line 2, column setting: {setting[:40]!r}; {nearest(setting, MODULES)}")
    return report_for(setting).schema


def _check_header(header: list[str], schema: Schema, path: Path) -> None:
    """Raise a UserError unless every column of the schema stands in the header once."""
    repeated = [name for name in schema.names if header.count(name) > 1]
    absent = [name for name in schema.names if name not in header]
    for names, fault in ((repeated, "stands there more than once"), (absent, "is missing")):
        if names:
            raise UserError(f"{path}, line 1: the column {names[0]!r} {fault}; {_REMEDY}")


def _row(header: list[str], fields: list[str], schema: Schema, where: str) -> dict[str, Any]:
    """One record, checked."""
    if len(fields) != len(header):
        raise UserError(f"{where}: {len(fields)} fields, {len(header)} expected; {_REMEDY}")
    row: dict[str, Any] = dict(zip(header, fields, strict=True))
    for column in schema.columns:
        try:
            row[column.name] = column.parse(row[column.name])
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{where}, column {column.name}: expected {column.expected}, not {row[column.name][:40]!r}"
            ) from error
    main = schema.measures[0].column
    if math.isnan(row[main]) != (row["status"] == FAILED):
        raise UserError(f"{where}: a record without {main} must be of status failed, and no other may be")
    return row
