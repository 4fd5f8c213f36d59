"""Files that come with installed Python packages, found without importing the packages."""

import importlib.util
from pathlib import Path

from pipeline.core.errors import UserError

PREFIX = "package:"
"""What a suite writes before MODULE/FILE to name a file of an installed package."""


def module_folder(module: str, install: str) -> Path:
    """Return the folder of a top-level module.

    Args:
        module: The name of the module.
        install: What `pip install` takes to get it, for the message.

    Raises:
        UserError: The module is not installed, or is a single file.
    """
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        raise UserError(f"the package {module} is not installed: pip install {install!r}")
    return Path(folders[0])


def file_below(folder: Path, name: str) -> Path:
    """Return the file `name` below `folder`; UserError if it leads out of the folder or is not there."""
    path = folder / name
    if ".." in Path(name).parts or Path(name).is_absolute() or not path.is_file():
        raise UserError(f"there is no file {name} in {folder}")
    return path


def package_file(named: str) -> Path:
    """Return the file that `package:MODULE/FILE` names.

    Raises:
        UserError: The module is not installed, or has no such file.
    """
    module, _, name = named.removeprefix(PREFIX).partition("/")
    return file_below(module_folder(module, module.replace("_", "-")), name)
