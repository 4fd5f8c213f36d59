"""Import a dataset from a folder in any known layout, by links to its images where possible."""

import os
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pipeline.config import IN_PLACE, FolderCard, data_folder
from pipeline.core.errors import UserError
from pipeline.data.sources.inventory import IMAGES, ImportRecord, absent_classes, write_inventory
from pipeline.data.sources.layouts import recognise
from pipeline.data.sources.scan import FoundImage, Layout, images_below

Log = Callable[[str], None]
"""Takes one line about what is being done or was found."""


def import_folder(card: FolderCard, folder: Path, log: Log) -> ImportRecord:
    """Put the images of `card` in `folder` in place, and log what was recognised.

    Raises:
        UserError: No layout of the dataset was recognised; an earlier import stays in place.
    """
    folder = folder.absolute()
    if folder.is_relative_to(data_folder(card.name) / IMAGES):
        raise UserError(f"{folder} is the result of an import; name the folder that was imported")
    found = recognise(card, folder)
    log(f"recognised {found.layout}")
    return import_images(card, folder, found, log)


def import_images(card: FolderCard, folder: Path, found: Layout, log: Log) -> ImportRecord:
    """Put the images that were found below `folder` in place, and log what was left out.

    Raises:
        UserError: An image cannot be put in place; an earlier import stays.
    """
    place = data_folder(card.name)
    unwritable = {image for image in found.images if not _is_writable(image.path.relative_to(folder))}
    irregular = {image for image in found.images if not image.path.is_file()} - unwritable
    images = [image for image in found.images if image not in unwritable | irregular]
    notes = [
        *found.notes,
        *_left_out(unwritable, "whose names are not UTF-8 or contain control characters"),
        *_left_out(irregular, "that are broken links or no regular files"),
    ]
    for note in notes:
        log(note)
    place.mkdir(parents=True, exist_ok=True)
    fresh = place / f"{IMAGES}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    linker = Linker(place)
    try:
        table = _link_images(card, images, fresh, linker)
    except OSError as error:
        where = error.filename or fresh
        shutil.rmtree(fresh, ignore_errors=True)
        raise UserError(f"{card.name} cannot be imported: {error.strerror} ({where})") from error
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    (place / IN_PLACE).unlink(missing_ok=True)  # until the inventory is written, no dataset is in place
    _replace(fresh, place / IMAGES)
    for sentence in absent_classes(card, table):
        log(sentence)
    return write_inventory(place, table, found.layout, folder, linker.how, notes)


def _link_images(card: FolderCard, images: list[FoundImage], folder: Path, linker: "Linker") -> pd.DataFrame:
    """Link `images` as DOMAIN/CLASS/… below `folder`; return the inventory by domain, label and name."""
    groups: dict[tuple[str, int], list[FoundImage]] = defaultdict(list)
    for image in images:
        groups[image.domain, image.label].append(image)
    rows = []
    for (domain, label), group in groups.items():
        names = linker.put(folder / domain / card.classes[label], [image.path for image in group])
        sizes = [image.path.stat().st_size for image in group]
        rows += [
            (domain, label, image.split, f"{card.classes[label]}/{name}", size)
            for image, name, size in zip(group, names, sizes, strict=True)
        ]
    table = pd.DataFrame(rows, columns=["domain", "label", "split", "name", "bytes"])
    order = {short: index for index, short in enumerate(card.domains)}
    return table.sort_values(
        ["domain", "label", "name"], key=lambda c: c.map(order) if c.name == "domain" else c
    )


def _is_writable(path: Path) -> bool:
    """Tell whether a path is valid Unicode (other bytes are surrogates) without control characters."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in str(path))


def _left_out(images: set[FoundImage], problem: str) -> list[str]:
    """Describe images that are left out, if there are any."""
    if not images:
        return []
    first = min(os.fsencode(image.path) for image in images)
    return [f"left out: {len(images):,} images {problem}, for example {first!r}"]


def _replace(fresh: Path, old: Path) -> None:
    """Rename the folder `fresh` to `old`, and delete what was there."""
    outdated = old.with_name(f"{old.name}.old")
    shutil.rmtree(outdated, ignore_errors=True)
    if old.exists():
        os.rename(old, outdated)
    os.rename(fresh, old)
    shutil.rmtree(outdated, ignore_errors=True)


class Linker:
    """Put images into the folder of a dataset: by symbolic links, else by hard links, else as copies.

    If all images of a folder are taken, one symbolic link to that folder is made. Links to files inside
    `place` are relative, so that `place` can be moved.

    Args:
        place: The dataset's folder.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.methods: list[tuple[str, Callable[[Path, Path], object]]] = [
            ("symbolic links", self._symlink),
            ("hard links", os.link),
            ("copies", shutil.copy2),
        ]

    @property
    def how(self) -> str:
        """The method in use: `symbolic links`, `hard links` or `copies`."""
        return self.methods[0][0]

    def put(self, folder: Path, images: list[Path]) -> list[str]:
        """Put `images` into `folder`; return the name of each one relative to `folder`."""
        parent = Path(os.path.commonpath([image.parent for image in images]))
        folder.parent.mkdir(parents=True, exist_ok=True)
        if images_below(parent) == sorted(images) and self._link_folder(parent, folder):
            return [image.relative_to(parent).as_posix() for image in images]
        folder.mkdir(exist_ok=True)
        names = [image.name for image in images]
        if len(set(names)) < len(names):  # for example train/dog/1.jpg and val/dog/1.jpg
            names = [image.relative_to(parent).as_posix() for image in images]
        for image, name in zip(images, names, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self._link_file(image, folder / name)
        return names

    def _link_folder(self, source: Path, link: Path) -> bool:
        """Make `link` a symbolic link to the folder `source`; return whether this was possible."""
        if self.how != "symbolic links":
            return False
        try:
            self._symlink(source, link)
        except OSError:
            self.methods.pop(0)
            return False
        return True

    def _link_file(self, image: Path, link: Path) -> None:
        """Put the file `image` at `link`, by the first method that works on this file system."""
        while True:
            try:
                self.methods[0][1](image, link)
                return
            except OSError:
                if len(self.methods) == 1:
                    raise
                self.methods.pop(0)

    def _symlink(self, target: Path, link: Path) -> None:
        # Links are made in images.new and stay valid in images, which is at the same depth.
        inside = target.is_relative_to(self.place)
        os.symlink(os.path.relpath(target, link.parent) if inside else target, link)
