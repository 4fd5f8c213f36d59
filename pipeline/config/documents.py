"""YAML documents that know the line of every key, and validation errors that name file, line and field."""

import math
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.base import nearest
from pipeline.config.yaml_text import Place, ambiguities, parse, parse_tree
from pipeline.core.errors import FaultyFileError, UserError

MAX_VALUES = 100_000
"""Values that a file may hold when its aliases are written out; those of a few lines could be billions."""

_SHORT = Repr()
"""Writes values into messages. A few lines of YAML can hold what would fill gigabytes when written out."""
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring, _SHORT.maxother = 2, 4, 4, 80, 80


_KINDS = {"int": "a number", "float": "a number", "bool": "true or false", "date": "a date"}
"""How messages call the types that YAML gives to values without quotes."""


def short_repr(value: object) -> str:
    """Return what a message shows of a value from a document."""
    return _SHORT.repr(value)


def _short_key(key: str | int) -> str:
    """Return what a message shows of a key; long ones, and those with line ends, as `short_repr`."""
    plain = isinstance(key, str) and len(key) <= _SHORT.maxstring and key.isprintable()
    return str(key) if plain else short_repr(key)


@dataclass(frozen=True)
class Document:
    """One YAML file.

    Attributes:
        path: The file.
        root: Its parse tree, which knows the lines.
        data: Its keys and values.
    """

    path: Path
    root: yaml.Node
    data: dict[str, Any]

    def find(self, place: Place) -> tuple[int, int]:
        """Tell how many steps of `place` are in the document, and the line (from 1) of the last of them."""
        depth, line, _ = self._walk(place)
        return depth, line

    def decides(self, place: Place) -> bool:
        """Tell whether this document alone states what is at `place`; extended ones add to mappings only."""
        depth, _, node = self._walk(place)
        in_list = any(isinstance(step, int) for step in place[:depth])
        return depth == len(place) or in_list or not isinstance(node, yaml.MappingNode)

    def text(self, place: Place) -> str | None:
        """Return the value at `place` as the file spells it; None if there is none, or more than a scalar."""
        depth, _, node = self._walk(place)
        return str(node.value) if depth == len(place) and isinstance(node, yaml.ScalarNode) else None

    def _walk(self, place: Place) -> tuple[int, int, yaml.Node]:
        """Follow `place` as far as it goes: the steps taken, the line of the last (from 1), and its node."""
        node, line = self.root, self.root.start_mark.line
        for depth, step in enumerate(place):
            children: list[tuple[Any, yaml.Node, int]] = []
            if isinstance(node, yaml.MappingNode):
                children = [(key.value, value, key.start_mark.line) for key, value in node.value]
            elif isinstance(node, yaml.SequenceNode):
                children = [(i, value, value.start_mark.line) for i, value in enumerate(node.value)]
            found = [(value, start) for key, value, start in children if key == step]
            if not found:
                return depth, line + 1, node
            node, line = found[0]
        return len(place), line + 1, node


def read_document(path: Path) -> Document:
    """Read the YAML file at `path`.

    Raises:
        UserError: It cannot be read, is not YAML, is not a mapping, repeats a key, or has a number that could
            be another; with the line where that is known.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file; name a YAML file")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    try:
        root = parse_tree(text)
        if root is not None and _expanded_size(root, {}) > MAX_VALUES:
            raise UserError(f"{path}: its aliases (*name) stand for more than {MAX_VALUES:,} values")
        data = parse(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(f"{path}{line}: this is not valid YAML: {problem}") from error
    except (ValueError, RecursionError) as error:  # a number or date that Python refuses; too deep brackets
        raise UserError(f"{path}: this is not valid YAML: {error}") from error
    if root is None or not isinstance(data, dict):
        raise UserError(f"{path}: expected keys and values at the top level")
    faults = [
        f"{path}, line {line}, {'.'.join(map(str, place))}: {problem}"
        for place, line, problem in ambiguities(root)
    ]
    if faults:
        raise FaultyFileError(faults)
    return Document(path, root, data)


def _expanded_size(node: yaml.Node, known: dict[int, float]) -> float:
    """Count the values in a parse tree as if every alias were written out; an alias of itself is infinite.

    Args:
        node: The tree.
        known: The counts of nodes that were visited, by `id`; infinite while a node is being counted.
    """
    if id(node) not in known:
        known[id(node)] = math.inf
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_expanded_size(child, known) for child in children)
    return known[id(node)]


def explain(error: ValidationError, documents: Sequence[Document], model: type[BaseModel]) -> list[str]:
    """Return a sentence for each thing that is wrong in documents that did not become a `model`.

    Args:
        error: What pydantic found.
        documents: The documents, each of which overrides those after it. An error is reported in the document
            that has the value; a missing field in the first.
        model: What the documents were to become.
    """
    by_place: dict[Place, list[ErrorDetails]] = {}
    for found in error.errors():
        by_place.setdefault(_without_union_labels(model, found["loc"]), []).append(found)
    sentences = []
    for place, errors in by_place.items():
        if _of_another_member(place, errors, by_place):
            continue
        deciding = [document for document in documents if document.decides(place)]
        # Of equals the first: the file itself.
        document = max(deciding[:1] or documents, key=lambda document: document.find(place)[0])
        field = ".".join(map(_short_key, place)) or "the document"
        message = _message(errors, place, model, document.text(place))
        sentences.append(f"{document.path}, line {document.find(place)[1]}, {field}: {message}")
    return sentences


def _of_another_member(place: Place, errors: list[ErrorDetails], places: Iterable[Place]) -> bool:
    """Whether errors are of a union's member that was not meant, because another member got further."""
    inside = any(len(other) > len(place) and other[: len(place)] == place for other in places)
    return inside and all(len(one["loc"]) > len(place) for one in errors)


def _message(
    errors: list[ErrorDetails], place: Place, model: type[BaseModel], spelled: str | None = None
) -> str:
    """Return what is wrong at `place`; several errors there are those of the members of a union.

    Args:
        errors: What pydantic found there.
        place: The place.
        model: What the documents were to become.
        spelled: The value there as the file spells it.
    """
    first = errors[0]
    if spelled is not None and first["type"] == "string_type" and first["input"] is not None:
        kind = type(first["input"]).__name__
        shown = short_repr(spelled)
        read = f"{_short_key(spelled)} is read as {_KINDS.get(kind, kind)}"
        return f"text is expected, but {read}; quote it: {shown}"
    if first["type"] == "extra_forbidden":
        return f"unknown key; {nearest(str(place[-1]), _fields_at(model, place[:-1]))}"
    if first["type"] == "missing":
        return "this field is missing"
    if first["type"] == "literal_error" and len(errors) == 1:
        known = re.findall("'([^']*)'", first["ctx"]["expected"])
        value = short_repr(first["input"])
        return f"{value} is not one of its values; {nearest(value.strip(chr(39)), known)}"
    prefix = "Input should be "
    messages = [one["msg"].removeprefix("Value error, ") for one in errors]
    if all(message.startswith(prefix) for message in messages):
        text = prefix + " or ".join(dict.fromkeys(message.removeprefix(prefix) for message in messages))
    else:
        text = messages[0]
    text = text[0].lower() + text[1:]
    return text if isinstance(first["input"], dict | list) else f"{text}, not {short_repr(first['input'])}"


def _members(annotation: Any) -> list[Any]:
    """Return the members of a union but None; of any other type, the type itself."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return [one for one in get_args(annotation) if one is not type(None)]
    return [annotation]


def _inside(annotation: Any, step: str | int) -> Any:
    """Return the type of what is at `step` in a value of the type `annotation`; None if it is unknown."""
    (annotation, *others) = _members(annotation)
    if others:
        return None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(step))
        return field.annotation if field else None
    arguments = get_args(annotation)
    return arguments[-1] if arguments else None


def _without_union_labels(model: type[BaseModel], location: Place) -> Place:
    """Return a location of pydantic without the names of a union's members, which no document has."""
    place: list[str | int] = []
    current: Any = model
    for step in location:
        if len(_members(current)) > 1:
            current = None  # `step` is the name of the member
        else:
            place.append(step)
            current = _inside(current, step)
    return tuple(place)


def _fields_at(model: type[BaseModel], place: Place) -> list[str]:
    """Return the keys that the model at `place` takes; none where no model is there."""
    current: Any = model
    for step in place:
        current = _inside(current, step)
    (found, *_) = _members(current)
    return list(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else []
