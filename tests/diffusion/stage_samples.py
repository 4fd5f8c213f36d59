"""Stages of tests: killed between two steps, and compared by what they leave."""

from collections.abc import Callable
from pathlib import Path


class Killed(Exception):
    """Stands for a kill -9 between two steps."""


def silent(done: int, total: int, what: str) -> None:
    pass


def killed_after(steps: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, what: str) -> None:
        if done >= steps:
            raise Killed

    return progress


def product(folder: Path) -> dict[str, bytes]:
    """The files of an artifact-to-be, without what only resuming needs."""
    files = (p for p in folder.rglob("*") if p.is_file() and "scratch" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}
