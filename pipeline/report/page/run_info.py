"""run.json: what a results folder came from, so that its page can be written again without the store."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_serializer

from pipeline.config import BuiltCard, FolderCard, Strict, TaggedSuite
from pipeline.config.documents import short_repr
from pipeline.core.errors import UserError
from pipeline.core.store import check_regular, write_atomic

FILE = "run.json"


class StageTime(Strict):
    """How many jobs of one kind are finished, and the sum of their seconds."""

    kind: str
    done: int
    jobs: int
    seconds: float


class RunInfo(Strict):
    """A suite as it was run.

    Attributes:
        suite: The suite.
        card: The card of its dataset.
        tasks: What is compared: tasks, or kinds of morphs.
        file: The suite's file or name, as `run` was given it; see `shareable`.
        plugins: Files of methods.
        stages: Times by kind of job; None if unknown.
        made_with: The provenance in the manifests of finished jobs: for each name (see
            pipeline.core.provenance) its
            values, each with its number of jobs.
        untold: The number of finished jobs whose manifests hold no provenance.
        note: What else a reader has to know.
    """

    suite: TaggedSuite
    card: BuiltCard | FolderCard
    tasks: list[str]
    file: str
    plugins: list[str] = Field(default=[])
    stages: list[StageTime] | None = None
    made_with: dict[str, dict[str, int]] = Field(default={})
    untold: int = 0
    note: str = ""

    @field_serializer("suite")
    def _as_written(self, suite: BaseModel) -> dict[str, Any]:
        return suite.model_dump(mode="json", exclude_unset=True)

    @field_serializer("card")
    def _all_fields(self, card: BaseModel) -> dict[str, Any]:
        """Every field of the card; the serializer of a FolderCard itself keeps only what keys depend on."""
        return _plain(card)


def _plain(value: Any) -> Any:
    """A model and what is in it as plain values, without its own serializer."""
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def shareable(file: str) -> str:
    """Return a path without the folders of this machine: relative to the current folder, or its name alone.

    Args:
        file: A path, or the name of a suite.
    """
    path = Path(file)
    if not path.is_absolute():
        return file
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def write(folder: Path, info: RunInfo) -> Path:
    """Write folder/run.json."""
    write_atomic(folder / FILE, info.model_dump_json(indent=1) + "\n")
    return folder / FILE


def read(folder: Path) -> RunInfo | None:
    """Read folder/run.json; None if there is no such file.

    Raises:
        UserError: It cannot be read.
    """
    path = folder / FILE
    try:
        check_regular(path)
        return RunInfo.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UserError(f"{path} cannot be read ({_first(error)}); write it anew with `tables`") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); write it anew with `tables`") from error


def _first(error: ValidationError) -> str:
    """The first of several errors: its field, without the names of validators, and what is wrong."""
    first = error.errors()[0]
    steps = [str(step) for step in first["loc"] if "(" not in str(step) and step != "[key]"]
    message = first["msg"].removeprefix("Value error, ")
    return f"{short_repr('.'.join(steps))}: {message[:1].lower()}{message[1:]}"
