"""All classifier methods by name: what they are, which hyper-parameters they take, and their classes.

`plan` and `methods` answer from the text of files, without torch (see declarations.py); `load` imports the
one file that a training needs.
"""

import importlib
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.classify import plugins
from pipeline.classify.declarations import FOLDER, KINDS, Declaration, Value, declared_by, declared_in
from pipeline.config import ZERO_SHOT, MethodSpec, ZeroShotSettings, nearest
from pipeline.core.errors import UserError
from pipeline.core.plugin import Plugin

if TYPE_CHECKING:
    from pipeline.classify.method import Method

AnyClass = TypeVar("AnyClass", bound=type)

_loaded: dict[str, type[Any]] = {}
_in_use: list[Plugin] = []


def method(name: str) -> Callable[[AnyClass], AnyClass]:
    """Register the decorated class as the method `name`.

    Args:
        name: The name in suites, as a string that is written out.
    """

    def register(decorated: AnyClass) -> AnyClass:
        decorated.name = name  # type: ignore[attr-defined]
        _loaded[name] = decorated
        return decorated

    return register


def use(given: Iterable[Plugin]) -> None:
    """Add the methods of `given` plug-ins; they replace the plug-ins of an earlier call."""
    _in_use[:] = given
    declarations.cache_clear()


def in_use() -> list[Plugin]:
    """Return the plug-ins of the last `use`."""
    return list(_in_use)


@cache
def declarations() -> dict[str, Declaration]:
    """Return every method by its name: of methods/, of installed packages, and of the plug-ins in use.

    Raises:
        UserError: Two files declare one name, or a plug-in declares no method.
    """
    found: dict[str, Declaration] = {}
    for declared in [*_built_in(), *_plugged_in()]:
        if declared.name in found:
            other = found[declared.name].module
            raise UserError(f"method {declared.name!r} is declared by both {other} and {declared.module}")
        found[declared.name] = declared
    return found


def _built_in() -> list[Declaration]:
    """The methods of methods/."""
    modules = {path: f"{__package__}.methods.{path.stem}" for path in sorted(FOLDER.glob("*.py"))}
    return [declared for path, module in modules.items() for declared in declared_in(path, module)]


def _plugged_in() -> list[Declaration]:
    """The methods of installed packages and of the plug-ins in use."""
    found = []
    # A worker gets an installed plug-in with its job too: by their origin, both count once.
    by_origin = {plugin.module or str(plugin.path): plugin for plugin in [*plugins.installed(), *_in_use]}
    for origin, plugin in by_origin.items():
        declared = declared_by(plugin.text, plugin.path, origin)
        if not declared:
            raise UserError(
                f"plug-in {plugin.path} declares no method: it needs a class derived from "
                'pipeline.classify.method.Method, under the decorator @method("NAME") of '
                "pipeline.classify.registry"
            )
        found += [replace(one, plugin=plugin) for one in declared]
    return found


def names() -> list[str]:
    """Return the names of all methods, sorted."""
    return sorted(declarations())


def plugged_in() -> dict[str, Plugin]:
    """Return the plug-ins that declare methods, by the method's name."""
    return {name: one.plugin for name, one in declarations().items() if one.plugin is not None}


def versions() -> dict[str, int]:
    """Return the versions of the methods whose version is not 1, by the method's name (see `Method`)."""
    return {name: one.version for name, one in declarations().items() if one.version != 1}


def check_method(spec: MethodSpec) -> None:
    """Check that a suite's method exists and that its hyper-parameters have the types of their defaults.

    Raises:
        UserError: Says which name or value is wrong, and which there are.
    """
    if spec.zero_shot:  # the suite's reader has checked it
        return
    declared = declarations().get(spec.name)
    if declared is None:
        known = nearest(spec.name, [*names(), ZERO_SHOT])
        raise UserError(f"there is no method {spec.name!r} (--plugin FILE brings one of your own); {known}")
    for name, value in spec.hyperparameters.items():
        if name not in declared.hyperparameters:
            known = nearest(name, declared.hyperparameters)
            raise UserError(f"method {spec.name} takes no hyper-parameter {name!r}; {known}")
        default = declared.hyperparameters[name]
        if not _fits(value, default):
            kind = f"{KINDS[type(default)]}, such as {default}"
            raise UserError(f"method {spec.name}: hyper-parameter {name} takes {kind}, not {value!r}")


def check_setting(name: str, setting: str) -> None:
    """Check that the method `name`, which exists, can be used under `setting`.

    Raises:
        UserError: The method needs target images under dg, or several source domains under uda.
    """
    if name == ZERO_SHOT:
        return
    declared = declarations()[name]
    if setting == "dg" and declared.uses_target:
        others = ", ".join(one.name for one in declarations().values() if not one.uses_target)
        raise UserError(
            f"method {name} adapts to the target's images, which setting dg holds out; there are: {others}"
        )
    if setting == "uda" and declared.needs_domains:
        raise UserError(
            f"method {name} compares source domains, and setting uda has one; "
            "take setting dg or another method"
        )


def check_processes(name: str, processes: int) -> None:
    """Check that the method `name`, which exists, can be trained by so many processes.

    Raises:
        UserError: The method looks at levels within the backbone, which processes share.
    """
    if processes > 1 and declarations()[name].uses_levels:
        raise UserError(
            f"train.processes: method {name} looks at levels within the backbone, of which a process has its "
            "own share alone; set processes: 1"
        )


def _fits(value: Value, default: Value) -> bool:
    """Whether `value` has the type of `default`; a whole number is a number too."""
    return type(value) is type(default) or (type(default) is float and type(value) is int)


def load(name: str) -> "type[Method]":
    """Import and return the class of the method `name`, which exists (see `check_method`).

    Raises:
        UserError: A plug-in's class is under another decorator of the name `method`.
        ImportError: A plug-in fails to import.
    """
    declared = declarations()[name]
    if declared.plugin is None:
        importlib.import_module(declared.module)
        return _loaded[name]
    classes = plugins.classes_of(declared.plugin)
    if name not in classes:
        raise UserError(f"{declared.module}: @method({name!r}) is not the decorator of {__name__}")
    return classes[name]


def describe_methods() -> str:
    """Return a text for people: each method, what it is, and its hyper-parameters with their defaults."""
    defaults = ", ".join(f"{key}={value}" for key, value in ZeroShotSettings().model_dump().items())
    lines = [
        f"{ZERO_SHOT:<7} CLIP (Radford et al. 2021), zero-shot by the words of the classes: not trained.",
        f"        hyper-parameters: {defaults}",
    ]
    for name in names():
        declared = declarations()[name]
        defaults = ", ".join(f"{key}={value}" for key, value in declared.hyperparameters.items()) or "none"
        about = textwrap.fill(declared.about, 100, initial_indent=f"{name:<7} ", subsequent_indent=" " * 8)
        lines += [about, f"        hyper-parameters: {defaults}"]
        if declared.plugin is not None:
            lines.append(f"        from {declared.module}")
    return "\n".join(lines)
