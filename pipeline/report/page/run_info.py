"""run.json: what a results folder came from, so that its page can be written again without the store."""

from pathlib import Path

from pydantic import Field, ValidationError, field_serializer

from pipeline.config import BuiltCard, FolderCard, Strict, Suite
from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic

FILE = "run.json"


class Stage(Strict):
    """How far one kind of job is, and the seconds that its finished jobs took, one after the other."""

    kind: str
    done: int
    jobs: int
    seconds: float


class About(Strict):
    """A suite as it was run. file: as `run` was told. plugins: files of methods. stages: None if not known.

    made_with: versions and machines by name (see pipeline.core.provenance), as the manifests of finished jobs
        tell them, and
    under each value how many jobs. untold: how many finished jobs do not tell. note: what else a reader has
    to know.
    """

    suite: Suite
    card: BuiltCard | FolderCard
    tasks: list[str]
    file: str
    plugins: list[str] = Field(default=[])
    stages: list[Stage] | None = None
    made_with: dict[str, dict[str, int]] = Field(default={})
    untold: int = 0
    note: str = ""

    @field_serializer("suite")
    def _as_written(self, suite: Suite) -> dict:
        return suite.model_dump(mode="json", exclude_unset=True)


def write(folder: Path, about: About) -> Path:
    """folder/run.json."""
    write_atomic(folder / FILE, about.model_dump_json(indent=1) + "\n")
    return folder / FILE


def read(folder: Path) -> About | None:
    """What folder/run.json says, None if there is no such file."""
    path = folder / FILE
    try:
        return About.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read ({first}); write it anew with `tables`") from error
