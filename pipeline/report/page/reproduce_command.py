"""The commands that make a suite, or one row of its main table, again."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.paths import CHECKOUT, shipped_folder

PROGRAM = ".venv/bin/python run_benchmark.py" if CHECKOUT else "terrabench"


def run_command(file: str, plugins: Sequence[str] = ()) -> str:
    """Return the command that runs the suite in `file`."""
    options = "".join(f" --plugin {shlex.quote(plugin)}" for plugin in plugins)
    return f"{PROGRAM} run {shlex.quote(file)}{options}"


def row_command(
    name: str, file: str, row: str, fields: Mapping[str, Any], plugins: Sequence[str] = ()
) -> str:
    """Return the commands, for a shell in the checkout, that write row.yaml and run it.

    row.yaml extends the suite and asks for one row of it. Its jobs are those of the suite: what the store
    holds is not
    made again.

    Args:
        name: The suite's name.
        file: The suite's file or name.
        row: The row's name.
        fields: The fields of the suite that select the row.
        plugins: Files of methods.
    """
    lines = " ".join(shlex.quote(line) for line in row_suite(name, file, row, fields))
    return f"printf '%s\\n' {lines} > row.yaml\n{run_command('row.yaml', plugins)}"


def row_suite(name: str, file: str, row: str, fields: Mapping[str, Any]) -> list[str]:
    """Return the lines of row.yaml; see `row_command`."""
    row_name = re.sub(r"[^A-Za-z0-9]+", "_", f"{name} {row}").strip("_")
    values = {"extends": _extended(file), "name": row_name, **fields}
    return [f"{key}: {json.dumps(value)}" for key, value in values.items()]  # JSON is YAML


def _extended(file: str) -> str:
    """The suite in `file` as row.yaml names it: by its name if it is under benchmarks/, else by its path."""
    path = Path(file)
    if path.suffix not in (".yaml", ".yml") or path.resolve().parent == shipped_folder("benchmarks"):
        return path.stem
    return file
