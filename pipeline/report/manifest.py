"""drawn.json: what the files of a results folder were drawn from, so that what would come out the same is not drawn again."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from pipeline.config import Strict
from pipeline.core.store import write_atomic

FILE, PAGE = "drawn.json", "index.html"


class Drawn(Strict):
    """What was drawn from that of which `mark` is the stamp (stamp.stamp).

    files: by path, size in bytes and time of change in ns. said: what is printed of it, a sentence each.
    """

    mark: str
    files: dict[str, tuple[int, int]]
    said: list[str]


def read(folder: Path, mark: str) -> Drawn | None:
    """What is in `folder`, if it was drawn from the same and no file of it is gone or was changed."""
    try:
        drawn = Drawn.model_validate_json((folder / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    same = drawn.mark == mark and all(_state(Path(path)) == state for path, state in drawn.files.items())
    return drawn if same else None


def write(folder: Path, mark: str, files: Sequence[Path], said: Sequence[str]) -> Drawn:
    """Note what was drawn."""
    states = {str(path): state for path in files if (state := _state(path)) is not None}
    drawn = Drawn(mark=mark, files=states, said=list(said))
    write_atomic(folder / FILE, drawn.model_dump_json(indent=1) + "\n")
    return drawn


def _state(path: Path) -> tuple[int, int] | None:
    """(size, time of change), None of a file that is not there."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns
