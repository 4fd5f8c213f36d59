"""Read which methods a Python file declares, from its text: nothing is imported, torch least of all.

A method is a class under `@method("NAME")`. Its hyper-parameters are the annotated class attributes with a
default: its own, and those of base classes that are in the same file or in methods/.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.config.names import check_path_name
from pipeline.core.errors import UserError
from pipeline.core.plugin import Plugin

FOLDER = Path(__file__).parent / "methods"
"""Where this project's own methods are."""

KINDS: dict[type, str] = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
"""The types of hyper-parameters, and what messages call them."""

FLAGS = {"uses_target": True, "needs_domains": False, "uses_levels": False, "version": 1}
"""The attributes of a method that planning depends on, with the defaults of `Method`."""

Value = float | int | bool | str
"""The value of a hyper-parameter."""

Classes = dict[str, ast.ClassDef]
"""Classes at the top level of files, by name."""


@dataclass(frozen=True)
class Declaration:
    """What the text of a file says about one method.

    Attributes:
        name: The name in suites.
        module: The module to import, or the path of a plug-in's file.
        hyperparameters: Their defaults, by name.
        about: The first line of the class's docstring.
        uses_target: See `Method`.
        needs_domains: See `Method`.
        uses_levels: See `Method`.
        version: See `Method`.
        plugin: The plug-in that declares the method; None for a method of this project.
    """

    name: str
    module: str
    hyperparameters: dict[str, Value]
    about: str
    uses_target: bool = True
    needs_domains: bool = False
    uses_levels: bool = False
    version: int = 1
    plugin: Plugin | None = None


def declared_in(path: Path, module: str) -> list[Declaration]:
    """Return the methods that the file at `path`, the module `module`, declares."""
    return declared_by(path.read_text(encoding="utf-8"), path, module)


def declared_by(text: str, path: Path, module: str) -> list[Declaration]:
    """Return the methods that `text`, the content of the file at `path`, declares.

    Raises:
        UserError: The text is not Python, or a name or a default is not written out.
    """
    nodes = _classes(text, path)
    known = _classes_of_methods() | nodes
    declared = []
    for node in nodes.values():
        for call in node.decorator_list:
            if isinstance(call, ast.Call) and _last_name(call.func) == "method":
                name = _name(call, path)
                hyperparameters = _hyperparameters(node, known, path)
                about = (ast.get_docstring(node) or "").partition("\n")[0]
                flags = FLAGS | _flags(node, known)
                declared.append(
                    Declaration(
                        name,
                        module,
                        hyperparameters,
                        about,
                        uses_target=bool(flags["uses_target"]),
                        needs_domains=bool(flags["needs_domains"]),
                        uses_levels=bool(flags["uses_levels"]),
                        version=flags["version"],
                    )
                )
    return declared


def _name(call: ast.Call, path: Path) -> str:
    """The name under @method, which becomes the name of files.

    Raises:
        UserError: It is not written out, or cannot be the name of a file.
    """
    name = str(_literal(call.args[0] if call.args else call, path, "the name under @method"))
    try:
        return check_path_name(name)
    except ValueError as error:
        raise UserError(f"{path}, line {call.lineno}: method {name!r}: {error}") from error


def _classes(text: str, path: Path) -> Classes:
    try:
        tree = ast.parse(text, str(path))
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise UserError(f"{path}{line}: this is not valid Python: {getattr(error, 'msg', error)}") from error
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


@cache
def _classes_of_methods() -> Classes:
    """The classes of all files of methods/, from which a method may be derived."""
    found: Classes = {}
    for path in sorted(FOLDER.glob("*.py")):
        found |= _classes(path.read_text(encoding="utf-8"), path)
    return found


def _last_name(node: ast.expr) -> str:
    """'method' of both `method` and `registry.method`; '' of any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _bases(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> list[tuple[ast.ClassDef, Classes]]:
    """The bases of a class among `known`, in reverse lookup order, each with its possible bases."""
    others = {name: other for name, other in known.items() if other is not node}
    parents = [others.get(_last_name(base)) for base in reversed(node.bases)]
    return [(parent, others) for parent in parents if parent is not None]


def _hyperparameters(node: ast.ClassDef, known: Mapping[str, ast.ClassDef], path: Path) -> dict[str, Value]:
    """The hyper-parameters of a class and of its bases among `known`, with the class's defaults."""
    values: dict[str, Value] = {}
    for parent, others in _bases(node, known):
        values |= _hyperparameters(parent, others, path)
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
            values[line.target.id] = _literal(line.value, path, f"the default of {line.target.id}")
        elif isinstance(line, ast.Assign):  # another default for a hyper-parameter of a base
            for name in {_last_name(target) for target in line.targets} & values.keys():
                values[name] = _literal(line.value, path, f"the default of {name}")
    return values


def _flags(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> dict[str, int]:
    """Those of FLAGS that a class or its bases among `known` set."""
    flags: dict[str, int] = {}
    for parent, others in _bases(node, known):
        flags |= _flags(parent, others)
    for line in node.body:
        if not isinstance(line, ast.Assign) or not isinstance(line.value, ast.Constant):
            continue
        if isinstance(value := line.value.value, int):
            names = {_last_name(target) for target in line.targets} & FLAGS.keys()
            flags |= dict.fromkeys(names, value)
    return flags


def _literal(node: ast.expr, path: Path, what: str) -> Value:
    """The value that an expression spells out.

    Raises:
        UserError: The expression is computed, or of a type that no suite can state.
    """
    try:
        value: object = ast.literal_eval(node)
    except ValueError:
        value = None
    if isinstance(value, float | int | bool | str):
        return value
    raise UserError(
        f"{path}, line {node.lineno}: {what} must be a number, true or false, or text, written out"
    )
