"""`datasets import`: takes a data set from a folder in any known layout, by links rather than copies."""

import os
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pipeline.config import IN_PLACE, FolderCard, data_folder
from pipeline.core.errors import UserError
from pipeline.data.sources.inventory import IMAGES, About, write_inventory
from pipeline.data.sources.layouts import Image, images_below, recognise

Say = Callable[[str], None]


def import_folder(card: FolderCard, folder: Path, say: Say) -> About:
    """Puts the images in `folder` in place, and says what was recognised. UserError if nothing was."""
    folder = folder.absolute()
    place = data_folder(card.name)
    if folder.is_relative_to(place / IMAGES):
        raise UserError(f"{folder} is what an import made; name the folder that it was made from")
    found = recognise(card, folder)
    say(f"recognised {found.layout}")
    for note in found.notes:
        say(note)
    images, odd = _well_named(found.images, folder)
    notes = found.notes + odd
    for note in odd:
        say(note)
    place.mkdir(parents=True, exist_ok=True)
    fresh = place / f"{IMAGES}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    linker = Linker(place)
    rows = []
    for (domain, label), group in _by_class(images).items():
        names = linker.put(fresh / domain / card.classes[label], [image.path for image in group])
        sizes = [image.path.stat().st_size for image in group]
        rows += [
            (domain, label, image.split, f"{card.classes[label]}/{name}", size)
            for image, name, size in zip(group, names, sizes, strict=True)
        ]
    (place / IN_PLACE).unlink(missing_ok=True)  # from here on until the end nothing is in place
    _replace(fresh, place / IMAGES)
    table = pd.DataFrame(rows, columns=["domain", "label", "split", "name", "bytes"])
    order = {short: index for index, short in enumerate(card.domains)}
    table = table.sort_values(
        ["domain", "label", "name"], key=lambda c: c.map(order) if c.name == "domain" else c
    )
    return write_inventory(place, table, found.layout, folder, linker.how, notes)


def _well_named(images: list[Image], folder: Path) -> tuple[list[Image], list[str]]:
    """The images whose names can be written into a list, and what to say of the others."""
    odd = {image for image in images if not _writable(str(image.path.relative_to(folder)))}
    if not odd:
        return images, []
    first = min(os.fsencode(image.path) for image in odd)
    told = f"left out: {len(odd):,} images whose names are not UTF-8 or hold control characters, such as {first!r}"
    return [image for image in images if image not in odd], [told]


def _writable(name: str) -> bool:
    """Whether a name is of whole characters (bytes that are none come as surrogates) and on one line."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def _by_class(images: list[Image]) -> dict[tuple[str, int], list[Image]]:
    """`images` by domain and label."""
    groups: dict[tuple[str, int], list[Image]] = defaultdict(list)
    for image in images:
        groups[image.domain, image.label].append(image)
    return groups


def _replace(fresh: Path, old: Path) -> None:
    """Puts `fresh` where `old` is."""
    doomed = old.with_name(f"{old.name}.old")
    shutil.rmtree(doomed, ignore_errors=True)
    if old.exists():
        os.rename(old, doomed)
    os.rename(fresh, old)
    shutil.rmtree(doomed, ignore_errors=True)


class Linker:
    """Makes images appear in the folder of a data set: by symbolic links, else by hard links, else as copies.

    A folder that is taken whole is one link. `how` says what was done. Links into `place` are relative, so that it
    may be moved.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ways = [("symbolic links", self._symlink), ("hard links", os.link), ("copies", shutil.copy2)]

    @property
    def how(self) -> str:
        """`symbolic links`, `hard links` or `copies`."""
        return self.ways[0][0]

    def put(self, folder: Path, images: list[Path]) -> list[str]:
        """Makes `images` appear in `folder`, by the names that are returned, one each."""
        parent = Path(os.path.commonpath([image.parent for image in images]))
        folder.parent.mkdir(parents=True, exist_ok=True)
        if images_below(parent) == sorted(images) and self._linked_whole(parent, folder):
            return [image.relative_to(parent).as_posix() for image in images]
        folder.mkdir(exist_ok=True)
        names: dict[str, Path] = {}
        for image in images:
            name = image.name
            if name in names:
                raise UserError(f"{names[name]} and {image} would be one image; take one away")
            names[name] = image
            self._link(image, folder / name)
        return list(names)

    def _linked_whole(self, source: Path, link: Path) -> bool:
        """Whether `link` could be made a symbolic link to the folder `source`."""
        if self.how != "symbolic links":
            return False
        try:
            self._symlink(source, link)
        except OSError:
            self.ways.pop(0)
            return False
        return True

    def _link(self, image: Path, link: Path) -> None:
        """Makes the file `image` appear as `link`, by the first way that is possible here."""
        while True:
            try:
                self.ways[0][1](image, link)
                return
            except OSError:
                if len(self.ways) == 1:
                    raise
                self.ways.pop(0)

    def _symlink(self, target: Path, link: Path) -> None:
        # Links are made in images.new, which is as deep as images.
        inside = target.is_relative_to(self.place)
        os.symlink(os.path.relpath(target, link.parent) if inside else target, link)
