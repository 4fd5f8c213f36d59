"""Walk the folders of a dataset, and find the domains and classes that their names stand for."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.config import FolderCard
from pipeline.config.names import simplified
from pipeline.core.errors import UserError

MAX_DEPTH = 3
"""Number of levels below the imported folder at which domains are searched."""

SPLIT_WORDS = {"train": 0, "crossval": 0, "val": 0, "test": 1}
"""The split of a list or folder, by a word in its name."""

SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"}
"""Suffixes of image files: those of torchvision's ImageFolder, GIF, and JFIF, as browsers call some JPEGs."""

IMAGE_STARTS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*|....ftyp(heic|heix|mif1|avif)", re.DOTALL
)
"""The first bytes of image files in the formats that photos have."""


class FoundImage(NamedTuple):
    """One image of a dataset.

    Attributes:
        domain: The domain's short form.
        label: Index into the card's classes.
        split: 0 for training, 1 for testing, 2 for both.
        path: The image file.
    """

    domain: str
    label: int
    split: int
    path: Path


@dataclass
class Layout:
    """What was recognised in a folder.

    Attributes:
        layout: Description of the layout, in words.
        images: The images of the dataset.
        notes: What was left out, and why.
    """

    layout: str
    images: list[FoundImage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def domain_names(card: FolderCard) -> dict[str, str]:
    """Map the simplified names that folders and lists of a domain may have to the domain's short form."""
    known: dict[str, str] = {}
    for short, domain in card.domains.items():
        known |= {simplified(name): short for name in (short, domain.name, *domain.folders)}
    return known


class ClassNames:
    """The classes of a card by the names of their folders.

    A folder is the class of exactly its name or, if there is none, the class whose simplified name is the
    same.
    """

    def __init__(self, card: FolderCard) -> None:
        self.card = card
        self.exact = {name: label for label, name in enumerate(card.classes)}
        self.similar: dict[str, list[int]] = defaultdict(list)
        for name, label in self.exact.items():
            self.similar[simplified(name)].append(label)

    def label(self, folder: str) -> int | None:
        """Return the label of the class that a folder's name stands for; None if it stands for none.

        Raises:
            UserError: The name could stand for several classes.
        """
        name = simplified(folder)
        if folder in self.exact or not name:
            return self.exact.get(folder)
        labels = self.similar.get(name, [])
        if len(labels) > 1:
            classes = " or ".join(self.card.classes[label] for label in labels)
            raise UserError(f"a folder {folder} could be class {classes} of {self.card.name}; rename it")
        return labels[0] if labels else None


def subfolders(folder: Path) -> list[Path]:
    """List the folders in `folder` that are not hidden, in order."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def walk_levels(folder: Path, depth: int) -> Iterator[Path]:
    """Yield `folder` and its subfolders down to `depth` levels, nearer ones first."""
    level = [folder]
    for remaining in range(depth, -1, -1):
        yield from level
        level = [below for each in level for below in subfolders(each)] if remaining else []


def is_image(name: str) -> bool:
    """Tell whether a file's name is that of an image; hidden files, like macOS' `._x.jpg`, are none."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def images_below(folder: Path) -> list[Path]:
    """List the images in `folder` and its subfolders, in order, except those in hidden subfolders.

    Raises:
        OSError: A folder cannot be read.
    """
    return sorted(path for path in _files_below(folder) if is_image(path.name))


def misnamed_images(folder: Path) -> list[Path]:
    """List the files below `folder` that begin like an image but have no suffix of one, in order."""
    return sorted(
        path
        for path in _files_below(folder)
        if not is_image(path.name) and not path.name.startswith(".") and _begins_like_an_image(path)
    )


def _begins_like_an_image(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return IMAGE_STARTS.match(file.read(16)) is not None
    except OSError:
        return False


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in `folder` and its subfolders, except those in hidden subfolders."""
    for at, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]  # os.walk descends into the rest
        yield from (Path(at, name) for name in names)


def _raise(error: OSError) -> None:
    raise error


def images_in(named: Path) -> list[Path]:
    """Return the image files that a path stands for: itself, or those of a folder and below, in order.

    Raises:
        UserError: There is nothing at the path, or the folder holds no image.
    """
    if not named.is_dir():
        if not named.exists():
            raise UserError(f"{named}: there is no such file or folder")
        return [named]
    found = images_below(named)
    if not found:
        raise UserError(
            f"{named} holds no image: no file in it or below ends in {', '.join(sorted(SUFFIXES))}"
        )
    return found
