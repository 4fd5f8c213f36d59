"""Which classifier methods there are and which hyper-parameters they take. Imports no torch.

A method is a class under `@method("NAME")` in a file of methods/. Its annotated class attributes are its
hyper-parameters, with their defaults. Both are read here from the file's text, so that `plan` and `methods`
answer without importing it; `load` imports the one file that is needed.
"""

import ast
import importlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.config import MethodSpec, nearest
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.classify.method import Method

FOLDER = Path(__file__).parent / "methods"

KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}

Value = float | int | bool | str
AnyClass = TypeVar("AnyClass", bound=type)

_loaded: dict[str, type] = {}


@dataclass(frozen=True)
class Declaration:
    """What the text of a file says of one method."""

    name: str
    module: str
    hyperparameters: dict[str, Value]
    about: str
    """The first line of the class's docstring."""


def method(name: str) -> Callable[[AnyClass], AnyClass]:
    """Decorator: the class is the method called `name` in suites."""

    def register(made: AnyClass) -> AnyClass:
        made.name = name
        _loaded[name] = made
        return made

    return register


@cache
def declarations() -> dict[str, Declaration]:
    """Every method by its name, from the files of methods/."""
    found: dict[str, Declaration] = {}
    for path in sorted(FOLDER.glob("*.py")):
        for declared in declared_in(path, f"{__package__}.methods.{path.stem}"):
            if declared.name in found:
                other = found[declared.name].module
                raise UserError(f"method {declared.name!r} is declared by both {other} and {declared.module}")
            found[declared.name] = declared
    return found


def names() -> list[str]:
    """The names of all methods."""
    return sorted(declarations())


def declared_in(path: Path, module: str) -> list[Declaration]:
    """The methods that the file at `path` declares."""
    declared = []
    for node in ast.parse(path.read_text(encoding="utf-8"), path.name).body:
        for call in node.decorator_list if isinstance(node, ast.ClassDef) else []:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "method":
                about = (ast.get_docstring(node) or "").partition("\n")[0]
                declared.append(Declaration(call.args[0].value, module, _hyperparameters(node), about))
    return declared


def _hyperparameters(node: ast.ClassDef) -> dict[str, Value]:
    """The annotated attributes of a class, with their values."""
    return {
        line.target.id: ast.literal_eval(line.value)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None
    }


def check_method(spec: MethodSpec) -> None:
    """UserError unless the method exists and takes the hyper-parameters given, each of its default's type."""
    declared = declarations().get(spec.name)
    if declared is None:
        raise UserError(f"there is no method {spec.name!r}; {nearest(spec.name, names())}")
    for name, value in spec.hyperparameters.items():
        if name not in declared.hyperparameters:
            known = nearest(name, declared.hyperparameters)
            raise UserError(f"method {spec.name} takes no hyper-parameter {name!r}; {known}")
        default = declared.hyperparameters[name]
        if not _fits(value, default):
            kind = f"{KINDS[type(default)]}, such as {default}"
            raise UserError(f"method {spec.name}: hyper-parameter {name} takes {kind}, not {value!r}")


def _fits(value: Value, default: Value) -> bool:
    """Whether `value` may stand where `default` does: a whole number is a number too, true is neither."""
    return type(value) is type(default) or (type(default) is float and type(value) is int)


def load(name: str) -> "type[Method]":
    """The class of the method `name`, which exists (see check_method)."""
    importlib.import_module(declarations()[name].module)
    return _loaded[name]


def describe_methods() -> str:
    """For people: each method, what it is, and its hyper-parameters with their defaults."""
    lines = []
    for name in names():
        declared = declarations()[name]
        taken = ", ".join(f"{key}={value}" for key, value in declared.hyperparameters.items()) or "none"
        about = textwrap.fill(declared.about, 100, initial_indent=f"{name:<8}", subsequent_indent=" " * 8)
        lines += [about, f"        hyper-parameters: {taken}"]
    return "\n".join(lines)
