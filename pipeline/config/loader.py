"""Every YAML that a user writes becomes a model, or one sentence: the file, the line, the field, what was expected."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from reprlib import Repr
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.any_suite import SUITE, SUITE_MODELS, AnySuite
from pipeline.config.base import nearest
from pipeline.config.cards import BuiltCard, DatasetCard, FolderCard
from pipeline.config.suites import Suite
from pipeline.core.errors import FaultyFileError, UserError
from pipeline.core.paths import yaml_files

Model = TypeVar("Model", bound=BaseModel)

_Location = tuple[str | int, ...]
"""Where pydantic found a fault: keys, and places in lists."""

_SHORT = Repr()
"""Writes values into messages. YAML can hold in a few lines what would fill gigabytes when written out."""
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring, _SHORT.maxother = 2, 4, 4, 80, 80


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


_ALONE = ""
"""The tag of a model that is not one of a union."""


def _explain(
    error: ValidationError, documents: Sequence[_Document], models: Mapping[str, type[BaseModel]]
) -> list[str]:
    """Write one sentence for each fault: the file, the line, the field, and what was expected.

    Args:
        error: What pydantic found.
        documents: The documents, each of which overrides those after it.
        models: The models of a union by their tag, the value of `setting`, with which pydantic begins
            locations;
            or one model under `_ALONE`.
    """
    return [_sentence(fault, documents, models) for fault in _without_alternatives(error.errors())]


def _without_alternatives(faults: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out the alternatives of a field that were not meant.

    Where a field takes values of several types, pydantic reports a fault for each type, with the name of the
    type in the location. The type that got furthest is the one that was meant.
    """
    furthest: dict[_Location, _Location] = {}
    for fault in faults:
        field = _field(fault["loc"])
        furthest[field] = max(furthest.get(field, ()), fault["loc"], key=len)
    kept = []
    for fault in faults:
        field = _field(fault["loc"])
        meant = furthest[field][: len(field) + 1]
        if fault["loc"][: len(field) + 1] == meant:
            kept.append(fault)
    return kept


def _field(location: _Location) -> _Location:
    """Cut a location before the name of one of several types, such as `list[str]`.

    The names of fields have no brackets.
    """
    types = [depth for depth, step in enumerate(location) if isinstance(step, str) and "[" in step]
    return location[: types[0]] if types else location


def _sentence(
    fault: ErrorDetails, documents: Sequence[_Document], models: Mapping[str, type[BaseModel]]
) -> str:
    """Write one fault as a sentence."""
    where = tuple(step for step in fault["loc"] if not (isinstance(step, str) and "[" in step))
    tag = str(where[0]) if _ALONE not in models and where else _ALONE
    if tag != _ALONE:
        where = where[1:]
    if fault["type"].startswith("union_tag"):
        where = ("setting",)
    given = _SHORT.repr(fault["input"])
    field = ".".join(map(str, where)) or "the document"
    if fault["type"] == "extra_forbidden":
        told = f"unknown key; {nearest(str(where[-1]), _fields_at(models[tag], where[:-1]))}"
    elif fault["type"] in ("missing", "union_tag_not_found"):
        told = "this field is missing"
    elif fault["type"] == "union_tag_invalid":
        setting = str(fault["ctx"]["tag"])
        told = f"{setting[:80]!r} is none of its values; {nearest(setting, models)}"
    elif fault["type"] == "literal_error":
        known = re.findall("'([^']*)'", fault["ctx"]["expected"])
        told = f"{given} is none of its values; {nearest(given.strip(chr(39)), known)}"
    else:
        message = fault["msg"].removeprefix("Value error, ")
        told = message[0].lower() + message[1:]
        if not isinstance(fault["input"], dict | list):
            told += f", not {given}"
    places = [(_place(document.root, where), document.path) for document in documents]
    (_, line), path = max(places, key=lambda place: place[0][0])  # of equals the first: the file itself
    return f"{path}, line {line}, {field}: {told}"


def _read(path: Path) -> _Document:
    """Read the document at `path`.

    Raises:
        UserError: The file is not a mapping of keys to values; the sentence names the line.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file; name a YAML file")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    try:
        root, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(f"{path}{line}: this is not valid YAML: {problem}") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number or date that Python refuses; brackets by the thousand
        raise UserError(f"{path}: this is not valid YAML: {error}") from error
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


def _combined(documents: Sequence[_Document]) -> dict[str, Any]:
    """The values of several documents, each of which overrides those after it."""
    return reduce(_merged, [document.data for document in reversed(documents)])


def _validated(documents: Sequence[_Document], model: type[Model]) -> Model:
    """A `model` of several documents, each of which overrides those after it."""
    try:
        return model.model_validate(_combined(documents))
    except ValidationError as error:
        raise FaultyFileError(_explain(error, documents, {_ALONE: model})) from error


def read_card(name: str) -> DatasetCard:
    """Read the dataset card called `name`: of ./datasets, else of those that come with the project."""
    cards = yaml_files("datasets")
    if name not in cards:
        raise UserError(f"there is no dataset {name!r}; {nearest(name, cards)}")
    return read_card_file(cards[name])


def read_card_file(path: Path) -> DatasetCard:
    """Read the dataset card in the file at `path`."""
    document = _read(path)
    return _validated([document], BuiltCard if "builder" in document.data else FolderCard)


def keys_of(path: Path) -> set[str]:
    """Return the keys at the top level of the YAML file at `path`."""
    return set(map(str, _read(path).data))


def _suite_path(given: str | Path, folder: Path) -> Path:
    """Find the file of a suite.

    Args:
        given: A path that ends in .yaml or .yml; or a name of ./benchmarks, else of those that come with the
            project.
        folder: The folder that a path is relative to.
    """
    path, suites = Path(given), yaml_files("benchmarks")
    found = folder / path if path.suffix in (".yaml", ".yml") else suites.get(path.name)
    if found is None or not found.exists():
        raise UserError(f"there is no suite {str(given)!r}; under benchmarks/ {nearest(path.stem, suites)}")
    return found


def read_training_suite(path: str | Path) -> Suite:
    """Read a suite of trainings; see `read_suite`.

    Raises:
        UserError: The suite is of another setting.
    """
    suite = read_suite(path)
    if not isinstance(suite, Suite):
        raise UserError(
            f"{suite.name} is a suite of setting {suite.setting}; this command needs a suite of trainings "
            "(setting uda or dg)"
        )
    return suite


def read_suite(path: str | Path) -> AnySuite:
    """Read a suite of any setting, with the suites that it extends.

    Args:
        path: The path of a YAML file, or the name of a suite under benchmarks/.

    Raises:
        UserError: There is no such suite, or fields are wrong. A sentence for each names file, line and
            field.
    """
    documents = [_read(_suite_path(path, Path()))]
    while "extends" in documents[-1].data:
        last = documents[-1]
        extended = last.data.pop("extends")
        where = f"{last.path}, line {_place(last.root, ('extends',))[1]}, extends"
        if not isinstance(extended, str):
            raise UserError(
                f"{where}: expected the name or the path of one suite, not {_SHORT.repr(extended)}"
            )
        try:
            found = _suite_path(extended, last.path.parent)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        if any(found.samefile(document.path) for document in documents):
            raise UserError(f"{where}: {found} would extend itself; one of the two has to stand alone")
        documents.append(_read(found))
    try:
        return SUITE.validate_python(_combined(documents))
    except ValidationError as error:
        raise FaultyFileError(_explain(error, documents, SUITE_MODELS)) from error
