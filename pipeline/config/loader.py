"""Every YAML that a user writes becomes a model, or one sentence: the file, the line, the field, what was expected."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config.base import nearest
from pipeline.config.cards import BuiltCard, DatasetCard, FolderCard
from pipeline.config.morph_suite import MorphSuite
from pipeline.config.suites import Suite
from pipeline.core.errors import UserError
from pipeline.core.paths import yaml_files

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class _Document:
    """One YAML file: its parse tree, which knows the lines, and its keys and values."""

    path: Path
    root: yaml.Node
    data: dict[str, Any]


def _place(root: yaml.Node, path: tuple[str | int, ...]) -> tuple[int, int]:
    """How much of `path` stands in a document, and the line (from 1) of the deepest part of it that does."""
    node, line = root, root.start_mark.line
    for depth, step in enumerate(path):
        children: list[tuple[Any, yaml.Node, int]] = []
        if isinstance(node, yaml.MappingNode):
            children = [(key.value, value, key.start_mark.line) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = [(i, value, value.start_mark.line) for i, value in enumerate(node.value)]
        found = [(value, at) for key, value, at in children if key == step]
        if not found:
            return depth, line + 1
        node, line = found[0]
    return len(path), line + 1


def _fields_at(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The keys that the model at `path` takes (empty where that is no model)."""
    current: Any = model
    for step in path:
        if isinstance(step, str) and isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(step)
            current = field.annotation if field else None
        else:
            current = next(iter(getattr(current, "__args__", ())), None)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _explain(error: ValidationError, documents: Sequence[_Document], model: type[BaseModel]) -> str:
    first = error.errors()[0]
    where = first["loc"]
    field = ".".join(map(str, where)) or "the document"
    more = f" ({error.error_count() - 1} more after it)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        told = f"unknown key; {nearest(str(where[-1]), _fields_at(model, where[:-1]))}"
    elif first["type"] == "missing":
        told = "this field is missing"
    elif first["type"] == "literal_error":
        known = re.findall("'([^']*)'", first["ctx"]["expected"])
        told = f"{first['input']!r} is none of its values; {nearest(str(first['input']), known)}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        told = message[0].lower() + message[1:]
        if not isinstance(first["input"], dict | list):
            told += f", not {first['input']!r}"
    places = [(_place(document.root, where), document.path) for document in documents]
    (_, line), path = max(places, key=lambda place: place[0][0])  # of equals the first: the file itself
    return f"{path}, line {line}, {field}: {told}{more}"


def _read(path: Path) -> _Document:
    """The document at `path`; UserError with the file and the line if it is none of keys and values."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    try:
        root, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise UserError(f"{path}{line}: this is not valid YAML: {problem}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected keys and values at the top level")
    return _Document(path, root, data)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`below` with what `above` has otherwise: mappings key by key, anything else as a whole."""
    both = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return below | above | both


def _validated(documents: Sequence[_Document], model: type[Model]) -> Model:
    """A `model` of several documents, each of which overrides those after it."""
    try:
        return model.model_validate(reduce(_merged, [document.data for document in reversed(documents)]))
    except ValidationError as error:
        raise UserError(_explain(error, documents, model)) from error


def read_card(name: str) -> DatasetCard:
    """Read the dataset card called `name`: of ./datasets, else of those that come with the project."""
    cards = yaml_files("datasets")
    if name not in cards:
        raise UserError(f"there is no dataset {name!r}; {nearest(name, cards)}")
    document = _read(cards[name])
    return _validated([document], BuiltCard if "builder" in document.data else FolderCard)


def _suite_path(given: str | Path, folder: Path) -> Path:
    """Find the file of a suite.

    Args:
        given: A path that ends in .yaml or .yml; or a name of ./benchmarks, else of those that come with the project.
        folder: The folder that a path is relative to.
    """
    path, suites = Path(given), yaml_files("benchmarks")
    found = folder / path if path.suffix in (".yaml", ".yml") else suites.get(path.name)
    if found is None or not found.exists():
        raise UserError(f"there is no suite {str(given)!r}; under benchmarks/ {nearest(path.stem, suites)}")
    return found


def read_suite(path: str | Path) -> Suite:
    """The suite of trainings at `path`, or the one of that name under benchmarks/, over the suites that it extends."""
    suite = read_any_suite(path)
    if isinstance(suite, MorphSuite):
        raise UserError(
            f"{path} compares morphs, of which `run`, `plan`, `tables` and `verify` alone know; name another suite"
        )
    return suite


def read_any_suite(path: str | Path) -> Suite | MorphSuite:
    """The same of any suite: of trainings, or of morphs (setting: morph)."""
    documents = [_read(_suite_path(path, Path()))]
    while "extends" in documents[-1].data:
        last = documents[-1]
        extended = last.data.pop("extends")
        where = f"{last.path}, line {_place(last.root, ('extends',))[1]}, extends"
        if not isinstance(extended, str):
            raise UserError(f"{where}: expected the name or the path of one suite, not {extended!r}")
        try:
            found = _suite_path(extended, last.path.parent)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        if any(found.samefile(document.path) for document in documents):
            raise UserError(f"{where}: {found} would extend itself; one of the two has to stand alone")
        documents.append(_read(found))
    settings = [document.data["setting"] for document in documents if "setting" in document.data]
    return _validated(documents, MorphSuite if settings[:1] == ["morph"] else Suite)
