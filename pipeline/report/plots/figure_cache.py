"""A picture that is drawn only if it is not there as it would be drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.store import write_atomic
from pipeline.report import fingerprint


@dataclass(frozen=True)
class Picture:
    """One picture to be drawn. `draw` gives bytes by suffix, .png among them, by `made_of` alone."""

    name: str
    made_of: tuple[object, ...]
    suffixes: tuple[str, ...]
    draw: Callable[[], dict[str, bytes]]


def file_name(task: str) -> str:
    """What names of files call a task: MN-to-MM, or to-MM where all other domains are sources."""
    return task.replace("->", "-to-").removeprefix("-")


def draw_picture(picture: Picture, folder: Path) -> list[Path]:
    """Draw `picture` unless it is there as it would be drawn; the PNG last, for it bears the stamp."""
    paths = {suffix: folder / f"{picture.name}{suffix}" for suffix in picture.suffixes}
    mark = fingerprint.stamp(*picture.made_of)
    if not (fingerprint.is_current(paths[".png"], mark) and all(path.exists() for path in paths.values())):
        drawn = picture.draw()
        drawn[".png"] = fingerprint.stamped(drawn[".png"], mark)
        for suffix in sorted(drawn):  # .pdf before .png
            write_atomic(paths[suffix], drawn[suffix])
    return list(paths.values())
