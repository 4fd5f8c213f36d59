"""Which classifier methods there are and which hyper-parameters they take. Imports no torch.

A method is a class under `@method("NAME")` in a file of methods/ or in a plug-in. Its annotated class attributes
are its hyper-parameters, with their defaults; a base class in the same file or in methods/ adds its own. All are
read here from the file's text, so that `plan` and `methods` answer without importing it; `load` imports the one
file that is needed.
"""

import ast
import importlib
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.classify import plugins
from pipeline.config import MethodSpec, Setting, nearest
from pipeline.core.errors import UserError
from pipeline.core.plugin import Plugin

if TYPE_CHECKING:
    from pipeline.classify.method import Method

FOLDER = Path(__file__).parent / "methods"

KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}

Value = float | int | bool | str
AnyClass = TypeVar("AnyClass", bound=type)

_loaded: dict[str, type] = {}
_given: list[Plugin] = []


@dataclass(frozen=True)
class Declaration:
    """What the text of a file says of one method."""

    name: str
    module: str
    """Where it is: the module to import, or the path of a plug-in's file."""
    hyperparameters: dict[str, Value]
    about: str
    """The first line of the class's docstring."""
    uses_target: bool = True
    needs_domains: bool = False
    """As the class says it (see Method)."""
    plugin: Plugin | None = None
    """What declares it, unless this project does."""


def method(name: str) -> Callable[[AnyClass], AnyClass]:
    """Decorator: the class is the method called `name` in suites."""

    def register(made: AnyClass) -> AnyClass:
        made.name = name
        _loaded[name] = made
        return made

    return register


def use(given: Iterable[Plugin]) -> None:
    """Let the methods of these plug-ins be there too, in the place of those of an earlier call."""
    _given[:] = given
    declarations.cache_clear()


@cache
def declarations() -> dict[str, Declaration]:
    """Every method by its name: of the files of methods/, of installed packages, and of the plug-ins in use."""
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
    # A plug-in in use may be an installed one, as a worker is sent it with its job: it counts once.
    by_origin = {plugin.module or str(plugin.path): plugin for plugin in [*plugins.installed(), *_given]}
    for origin, plugin in by_origin.items():
        declared = _declared(plugin.text, plugin.path, origin)
        if not declared:
            raise UserError(
                f"plug-in {plugin.path} declares no method: it needs a class derived from "
                'pipeline.classify.method.Method, under the decorator @method("NAME") of pipeline.classify.registry'
            )
        found += [replace(one, plugin=plugin) for one in declared]
    return found


def names() -> list[str]:
    """The names of all methods."""
    return sorted(declarations())


def plugged_in() -> dict[str, Plugin]:
    """The plug-ins that declare methods, by the method's name."""
    return {name: one.plugin for name, one in declarations().items() if one.plugin is not None}


def declared_in(path: Path, module: str) -> list[Declaration]:
    """The methods that the file at `path` declares."""
    return _declared(path.read_text(encoding="utf-8"), path, module)


def _declared(text: str, path: Path, module: str) -> list[Declaration]:
    """The methods that `text`, which is in the file at `path`, declares."""
    nodes = _classes(text, path)
    known = _classes_of_methods() | nodes
    declared = []
    for node in nodes.values():
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and _last_name(call.func) == "method":
                name = _literal(call.args[0] if call.args else call, path, "the name under @method")
                about = (ast.get_docstring(node) or "").partition("\n")[0]
                flags = _flags(node, known)
                declared.append(
                    Declaration(str(name), module, _hyperparameters(node, known, path), about, **flags)
                )
    return declared


def _classes(text: str, path: Path) -> dict[str, ast.ClassDef]:
    """The classes at the top level of a file, by name."""
    try:
        tree = ast.parse(text, str(path))
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise UserError(f"{path}{line}: this is not valid Python: {getattr(error, 'msg', error)}") from error
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


@cache
def _classes_of_methods() -> dict[str, ast.ClassDef]:
    """The classes of all files of methods/, by name: those that a method may be derived from."""
    found: dict[str, ast.ClassDef] = {}
    for path in sorted(FOLDER.glob("*.py")):
        found |= _classes(path.read_text(encoding="utf-8"), path)
    return found


def _last_name(node: ast.expr) -> str | None:
    """'method' of `method` and of `registry.method`; None of any other expression."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _bases(
    node: ast.ClassDef, known: Mapping[str, ast.ClassDef]
) -> list[tuple[ast.ClassDef, dict[str, ast.ClassDef]]]:
    """The bases of a class among `known`, each with those that may be its own; the one that Python asks first is last."""
    others = {name: other for name, other in known.items() if other is not node}
    parents = [others.get(_last_name(base) or "") for base in reversed(node.bases)]
    return [(parent, others) for parent in parents if parent is not None]


def _hyperparameters(node: ast.ClassDef, known: Mapping[str, ast.ClassDef], path: Path) -> dict[str, Value]:
    """The annotated attributes of a class and of its bases among `known`, with the values that they have in it."""
    values: dict[str, Value] = {}
    for parent, others in _bases(node, known):
        values |= _hyperparameters(parent, others, path)
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
            values[line.target.id] = _literal(line.value, path, f"the default of {line.target.id}")
        elif isinstance(line, ast.Assign):  # another value for what a base annotates
            for name in {_last_name(target) for target in line.targets} & values.keys():
                values[name] = _literal(line.value, path, f"the default of {name}")
    return values


def _flags(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> dict[str, bool]:
    """Those of the flags that a Declaration has which a class sets, or its bases among `known`."""
    flags: dict[str, bool] = {}
    for parent, others in _bases(node, known):
        flags |= _flags(parent, others)
    for line in node.body:
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant):
            named = {_last_name(target) for target in line.targets} & {"uses_target", "needs_domains"}
            flags |= {name: bool(line.value.value) for name in named}
    return flags


def _literal(node: ast.expr, path: Path, what: str) -> Value:
    """The value that an expression spells out; UserError if it is computed, or of a kind that no suite can state."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = None
    if type(value) not in KINDS:
        raise UserError(
            f"{path}, line {node.lineno}: {what} must be a number, true or false, or text, written out"
        )
    return value


def check_method(spec: MethodSpec) -> None:
    """UserError unless the method exists and takes the hyper-parameters given, each of its default's type."""
    declared = declarations().get(spec.name)
    if declared is None:
        known = nearest(spec.name, names())
        raise UserError(f"there is no method {spec.name!r} (--plugin FILE brings one of your own); {known}")
    for name, value in spec.hyperparameters.items():
        if name not in declared.hyperparameters:
            known = nearest(name, declared.hyperparameters)
            raise UserError(f"method {spec.name} takes no hyper-parameter {name!r}; {known}")
        default = declared.hyperparameters[name]
        if not _fits(value, default):
            kind = f"{KINDS[type(default)]}, such as {default}"
            raise UserError(f"method {spec.name}: hyper-parameter {name} takes {kind}, not {value!r}")


def check_setting(name: str, setting: Setting) -> None:
    """UserError unless the method `name`, which exists, can be trained under `setting`."""
    declared = declarations()[name]
    if setting == "dg" and declared.uses_target:
        others = ", ".join(one.name for one in declarations().values() if not one.uses_target)
        raise UserError(
            f"method {name} adapts to the target's images, which setting dg holds out; there are: {others}"
        )
    if setting == "uda" and declared.needs_domains:
        raise UserError(
            f"method {name} compares source domains, and setting uda has one; take setting dg or another method"
        )


def _fits(value: Value, default: Value) -> bool:
    """Whether `value` may stand where `default` does: a whole number is a number too, true is neither."""
    return type(value) is type(default) or (type(default) is float and type(value) is int)


def load(name: str) -> "type[Method]":
    """The class of the method `name`, which exists (see check_method)."""
    declared = declarations()[name]
    if declared.plugin is None:
        importlib.import_module(declared.module)
        return _loaded[name]
    made = plugins.classes_of(declared.plugin)
    if name not in made:
        raise UserError(f"{declared.module}: @method({name!r}) is not the decorator of {__name__}")
    return made[name]


def describe_methods() -> str:
    """For people: each method, what it is, and its hyper-parameters with their defaults."""
    lines = []
    for name in names():
        declared = declarations()[name]
        taken = ", ".join(f"{key}={value}" for key, value in declared.hyperparameters.items()) or "none"
        about = textwrap.fill(declared.about, 100, initial_indent=f"{name:<8}", subsequent_indent=" " * 8)
        lines += [about, f"        hyper-parameters: {taken}"]
        if declared.plugin is not None:
            lines.append(f"        from {declared.module}")
    return "\n".join(lines)
