"""The packages that this project requires."""

import configparser
from importlib.metadata import metadata

from packaging.requirements import Requirement

from pipeline.core.paths import CHECKOUT

DISTRIBUTION = "terrabench"


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Find the packages that this project requires, and those of each extra.

    A checkout states them in setup.cfg, which may be newer than the metadata of an editable installation.

    Returns:
        Requirements such as `numpy>=2.0,<3`, and those of each extra by its name.
    """
    if CHECKOUT is not None and (CHECKOUT / "setup.cfg").is_file():
        setup = configparser.ConfigParser()
        setup.read(CHECKOUT / "setup.cfg")
        extras = {name: lines.split() for name, lines in setup["options.extras_require"].items()}
        return setup["options"]["install_requires"].split(), extras
    installed = metadata(DISTRIBUTION)
    stated = [Requirement(line) for line in installed.get_all("Requires-Dist") or []]
    required = [str(requirement) for requirement in stated if requirement.marker is None]
    return required, {
        extra: [str(each).partition(";")[0] for each in stated if _only_with(each, extra)]
        for extra in installed.get_all("Provides-Extra") or []
    }


def _only_with(requirement: Requirement, extra: str) -> bool:
    """Tell whether an installation needs `requirement` for `extra` alone."""
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})
