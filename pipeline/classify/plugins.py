"""Plug-ins: files from outside this project that declare methods, given by --plugin or by installed packages.

Planning reads their text and neither runs a plug-in nor imports torch. `classes_of` runs a plug-in when a
training needs its class.
"""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from pipeline.core.errors import UserError
from pipeline.core.plugin import Plugin

GROUP = "terrabench.methods"
"""The group of entry points by which an installed package names its modules that declare methods."""


def given(path: Path) -> Plugin:
    """Read the plug-in that the user gave by --plugin; UserError if `path` is no readable Python file."""
    if path.suffix != ".py":
        raise UserError(f"--plugin {path}: expected a Python file, such as my_method.py")
    if not path.is_file():
        raise UserError(f"--plugin {path}: there is no such file")
    return Plugin(path.resolve(), _text(path))


def installed() -> list[Plugin]:
    """Read the plug-ins that installed packages name in GROUP, without importing them.

    Raises:
        UserError: A package names a module that does not exist, or a file is not readable.
    """
    found: dict[str, Plugin] = {}
    for entry in entry_points(group=GROUP):
        path = _file_of(entry.module)
        if path is None:
            package = entry.dist.name if entry.dist else "an installed package"
            raise UserError(f"{package} names the methods of {entry.module}, but there is no such module")
        found[entry.module] = Plugin(path, _text(path), entry.module)
    return list(found.values())


def _text(path: Path) -> str:
    """The content of the file at `path`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"plug-in {path} cannot be read: {error}") from error


def _file_of(module: str) -> Path | None:
    """The file of a module, or None. `find_spec` alone would import its packages, and torch with them."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or []:
        path = Path(folder, *rest)
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                return file
    return None


@cache
def classes_of(plugin: Plugin) -> Mapping[str, type]:
    """Run a plug-in, and return its classes under `@method` by the method's name.

    What it prints goes to standard error, because standard output may be JSON.

    Raises:
        ImportError: The plug-in fails to run. Its own traceback is the cause.
        UserError: An installed package was changed after the run was planned.
    """
    try:
        with redirect_stdout(sys.stderr):
            module = _run(plugin) if plugin.module is None else _imported(plugin, plugin.module)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise ImportError(
            f"plug-in {plugin.path} can't be imported: {type(error).__name__}: {error}"
        ) from error
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return {vars(one)["name"]: one for one in classes if "name" in vars(one)}


def _run(plugin: Plugin) -> ModuleType:
    """Make a module of the plug-in's text. Importing the file could find a later text, or older bytecode."""
    module = ModuleType(f"terrabench_plugin_{plugin.sha256[:16]}")
    module.__file__ = str(plugin.path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up
    exec(compile(plugin.text, str(plugin.path), "exec"), vars(module))
    return module


def _imported(plugin: Plugin, name: str) -> ModuleType:
    """Import the module of an installed package; UserError if it was changed after the run was planned."""
    if _text(plugin.path) != plugin.text:
        raise UserError(f"plug-in {plugin.path} was changed after this run began; run again")
    return importlib.import_module(name)
