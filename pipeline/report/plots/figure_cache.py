"""Draw a figure only if its inputs changed since it was last drawn."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.store import write_atomic
from pipeline.report import fingerprint

LONGEST = 200
"""Bytes of a figure's name; file systems allow 255 with the suffixes, also those of temporary files."""


@dataclass(frozen=True)
class FigureSpec:
    """A figure that can be drawn.

    Attributes:
        name: The name of its files, without suffix.
        depends_on: Everything that the figure depends on; `repr` of it enters the fingerprint.
        suffixes: The suffixes of its files; `.png` is among them.
        draw: Draws the figure, and returns the bytes of its files by suffix.
    """

    name: str
    depends_on: tuple[object, ...]
    suffixes: tuple[str, ...]
    draw: Callable[[], dict[str, bytes]]


def file_name(task: str) -> str:
    """Return a task as file names spell it: `MN-to-MM`, or `to-MM` for the held-out domain `MM`."""
    return task.replace("->", "-to-").removeprefix("-")


def _bounded(name: str) -> str:
    """Cut `name` where names of tasks, methods and augmentations are too long together for a file system."""
    if len(name.encode()) <= LONGEST:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST - len(mark) - 1].decode(errors="ignore") + f"-{mark}"


def draw_if_changed(figure: FigureSpec, folder: Path) -> list[Path]:
    """Draw `figure` into `folder`, unless its files are there and its inputs have not changed.

    The PNG is written last, because it holds the fingerprint.

    Returns:
        The paths of its files.
    """
    name = _bounded(figure.name)
    paths = {suffix: folder / f"{name}{suffix}" for suffix in figure.suffixes}
    mark = fingerprint.compute(*figure.depends_on)
    if not (fingerprint.is_current(paths[".png"], mark) and all(path.exists() for path in paths.values())):
        drawn = figure.draw()
        drawn[".png"] = fingerprint.embed(drawn[".png"], mark)
        for suffix in sorted(drawn):  # .pdf before .png
            write_atomic(paths[suffix], drawn[suffix])
    return list(paths.values())
