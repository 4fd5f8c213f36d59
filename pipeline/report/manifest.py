"""drawn.json: the fingerprint of what a results folder was drawn from; redraw it only if that changed."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from pipeline.config import Strict
from pipeline.core.store import check_regular, write_atomic

FILE, PAGE = "drawn.json", "index.html"


class DrawnFiles(Strict):
    """The files of a results folder.

    Attributes:
        fingerprint: The fingerprint of everything that they were drawn from.
        files: Size in bytes and time of change in ns, by path.
        sentences: What is printed below the table.
    """

    fingerprint: str
    files: dict[str, tuple[int, int]]
    sentences: list[str]


def read(folder: Path, fingerprint: str) -> DrawnFiles | None:
    """Return the files of `folder` if their fingerprint is the same and no file is gone or changed.

    A file drawn.json that cannot be read counts as none: it is written anew.
    """
    try:
        check_regular(folder / FILE)
        drawn = DrawnFiles.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    unchanged = all(_state(Path(path)) == state for path, state in drawn.files.items())
    return drawn if drawn.fingerprint == fingerprint and unchanged else None


def write(folder: Path, fingerprint: str, files: Sequence[Path], sentences: Sequence[str]) -> DrawnFiles:
    """Write drawn.json for files that were just drawn."""
    states = {str(path): state for path in files if (state := _state(path)) is not None}
    drawn = DrawnFiles(fingerprint=fingerprint, files=states, sentences=list(sentences))
    write_atomic(folder / FILE, drawn.model_dump_json(indent=1) + "\n")
    return drawn


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of change of a file; None if it does not exist."""
    try:
        stat = path.stat()
    except (OSError, ValueError):  # ValueError: drawn.json names a path with a NUL
        return None
    return stat.st_size, stat.st_mtime_ns
