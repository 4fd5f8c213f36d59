"""Reads the YAML files that users write: suites and dataset cards."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.config.any_suite import SUITE_MODELS, AnySuite
from pipeline.config.base import nearest
from pipeline.config.cards import BuiltCard, DatasetCard, FolderCard
from pipeline.config.documents import Document, explain, read_document, short_repr
from pipeline.config.suites import Suite
from pipeline.core.errors import FaultyFileError, UserError
from pipeline.core.paths import yaml_files

Model = TypeVar("Model", bound=BaseModel)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return `below`, overridden by `above`: mappings key by key, any other value as a whole."""
    both = {
        key: _merge(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return below | above | both


def _validate(documents: Sequence[Document], model: type[Model]) -> Model:
    """Return the `model` of several documents, each of which overrides those after it."""
    try:
        return model.model_validate(reduce(_merge, [document.data for document in reversed(documents)]))
    except ValidationError as error:
        raise FaultyFileError(explain(error, documents, model)) from error


def read_card(name: str) -> DatasetCard:
    """Read the dataset card called `name`: of ./datasets, else of those that come with the project.

    Raises:
        UserError: There is no such card, or it is not valid.
    """
    cards = yaml_files("datasets")
    if name not in cards:
        raise UserError(f"there is no dataset {name!r}; {nearest(name, cards)}")
    return read_card_file(cards[name])


def read_card_file(path: Path) -> DatasetCard:
    """Read the dataset card in the file at `path`.

    Raises:
        UserError: The card is not valid.
    """
    document = read_document(path)
    return _validate([document], BuiltCard if "builder" in document.data else FolderCard)


def keys_of(path: Path) -> set[str]:
    """Return the keys at the top level of the YAML file at `path`."""
    return set(map(str, read_document(path).data))


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

    A suite that has a name but no title of its own is titled by its name, not by the suite that it extends.

    Args:
        path: Its file, or its name under benchmarks/.

    Raises:
        UserError: There is no such suite, or it is not valid.
    """
    documents = [read_document(_suite_path(path, Path()))]
    while "extends" in documents[-1].data:
        last = documents[-1]
        extended = last.data.pop("extends")
        where = f"{last.path}, line {last.find(('extends',))[1]}, extends"
        if not isinstance(extended, str):
            raise UserError(
                f"{where}: expected the name or the path of one suite, not {short_repr(extended)}"
            )
        try:
            found = _suite_path(extended, last.path.parent)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        if any(found.samefile(document.path) for document in documents):
            raise UserError(f"{where}: {found} would extend itself; remove one of the two `extends`")
        documents.append(read_document(found))
    _title_by_name(documents)
    return _validate(documents, _suite_model(documents))


def _title_by_name(documents: Sequence[Document]) -> None:
    """Title a suite by its name if it states a name and the title is that of a suite which it extends."""
    for document in documents[:-1]:
        if "title" in document.data:
            return
        if isinstance(name := document.data.get("name"), str):
            document.data["title"] = name
            return


def _suite_model(documents: Sequence[Document]) -> type[AnySuite]:
    """Return the class of the suite in `documents`, by its setting.

    Raises:
        UserError: There is no such setting.
    """
    stated = (document for document in documents if "setting" in document.data)
    document = next(stated, None)
    setting = "uda" if document is None else document.data["setting"]  # where it is missing, pydantic says so
    if document is not None and (not isinstance(setting, str) or setting not in SUITE_MODELS):
        _, line = document.find(("setting",))
        value = short_repr(setting)
        known = nearest(value.strip("'"), SUITE_MODELS)
        raise UserError(f"{document.path}, line {line}, setting: {value} is not one of its values; {known}")
    return SUITE_MODELS[setting]
