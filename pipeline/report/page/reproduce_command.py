"""The command that makes one row of a table again."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import Suite
from pipeline.core.paths import CHECKOUT, shipped_folder

PROGRAM = ".venv/bin/python run_benchmark.py" if CHECKOUT else "terrabench"


def row_suite(suite: Suite, file: str, method: str, augmentation: str) -> list[str]:
    """The lines of a YAML that extends the suite in `file` and asks for one row of it.

    Its jobs are those of the suite, so that whatever is in the store already is not made twice.
    """
    spec = next(spec for spec in suite.methods if suite.label(spec) == method)
    name = re.sub(r"[^A-Za-z0-9]+", "_", f"{suite.name} {method} {augmentation}").strip("_")
    values = {
        "extends": _extended(file),
        "name": name,
        "methods": [spec.model_dump(mode="json", exclude_unset=True)],
        "augmentations": [augmentation],
    }
    return [f"{key}: {json.dumps(value)}" for key, value in values.items()]  # JSON is YAML


def _extended(file: str) -> str:
    """The suite in `file` as a YAML in another folder names it."""
    path = Path(file)
    if path.suffix not in (".yaml", ".yml") or path.resolve().parent == shipped_folder("benchmarks"):
        return path.stem
    return str(path.resolve())


def command(suite: Suite, file: str, method: str, augmentation: str, plugins: Sequence[str] = ()) -> str:
    """For a shell in the checkout: writes row.yaml, then runs it."""
    lines = " ".join(shlex.quote(line) for line in row_suite(suite, file, method, augmentation))
    given = "".join(f" --plugin {shlex.quote(plugin)}" for plugin in plugins)
    return f"printf '%s\\n' {lines} > row.yaml\n{PROGRAM} run row.yaml{given}"
