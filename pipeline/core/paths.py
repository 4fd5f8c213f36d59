"""Where the files of this project are, and where the files of the user go.

The package runs from a checkout or from an installed wheel. In a checkout, suites, dataset cards and
published figures stand beside the package, and everything is written into the checkout. An installed package
carries copies of those files, and everything is written into the current folder.
"""

from pathlib import Path
from typing import Literal

PACKAGE = Path(__file__).resolve().parent.parent
"""The folder of the package `pipeline`."""

ROOT = PACKAGE.parent
"""The folder that holds the package: the checkout, or the `site-packages` of an installation."""

CHECKOUT = ROOT if (ROOT / "run_benchmark.py").is_file() else None
"""The checkout that the package runs from; None where it is installed."""

PROGRAM = "run_benchmark.py" if CHECKOUT else "terrabench"
"""How the command is called in messages."""

Shipped = Literal["benchmarks", "datasets", "published"]
"""The kinds of data files that come with the project."""


def base_folder() -> Path:
    """Return the folder of `results/` and `datasets/data/`: the checkout, or else the current folder."""
    return CHECKOUT or Path.cwd()


def shipped_folder(kind: Shipped) -> Path:
    """Return the folder of the data files that come with the project: of the checkout, or of the package."""
    if CHECKOUT is None:
        return PACKAGE / "_bundled" / kind
    return CHECKOUT / "results" / "published" if kind == "published" else CHECKOUT / kind


def yaml_files(kind: Literal["benchmarks", "datasets"]) -> dict[str, Path]:
    """Find the suites or dataset cards that can be named without a path.

    Returns:
        The file of each name, in the order of the names. A file in the folder `kind` of the current folder
        hides one of the same name that comes with the project.
    """
    folders = (shipped_folder(kind), Path.cwd() / kind)
    found = {path.stem: path for folder in folders for path in folder.glob("*.yaml")}
    return {name: found[name] for name in sorted(found)}
