"""The ways in which people have these data sets on their disks, and how they are told apart.

    a folder for each domain    FOLDER/Art/Alarm_Clock/00001.jpg: as published, as unpacked, and as DomainBed has it
    image lists                 FOLDER/image_list/Art.txt, lines of a path and a number: the transfer-learning library's
                                lists, those of VisDA, of DomainNet and of PACS (kfold), JiGen's

Case, spaces, underscores and the like do not matter in names of folders and lists, and what is looked for may lie
some folders down.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipeline.config import FolderCard
from pipeline.core.errors import UserError
from pipeline.data.image_sets import BOTH

DEPTH = 3
"""So many folders down domains are looked for."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"}
"""Of files that are images: those of torchvision's ImageFolder, and GIF."""

SPLIT_WORDS = {"train": 0, "crossval": 0, "val": 0, "test": 1}
OTHER_WORDS = {"list", "image", "images", "imgs", "labels", "kfold", "all", "full"}
"""What names of lists have after the domain's."""

MOST_LOST = 50
"""When so many images of a list were looked for everywhere in vain, further ones are looked for in one place."""


class Image(NamedTuple):
    """One image of a data set: a short form, an index into the classes, 0, 1 or 2, and where it is."""

    domain: str
    label: int
    split: int
    path: Path


@dataclass
class Found:
    """What was recognised in a folder: in words, the images, and what was left aside and why."""

    layout: str
    images: list[Image] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plain(name: str) -> str:
    """`name` without what people write differently: `Real World`, `real_world` and `RealWorld` are one."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum())


def recognise(card: FolderCard, folder: Path) -> Found:
    """The images of `card` in `folder`: by lists if every domain has one, else by folders; UserError if by neither."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    try:
        return _by_lists(card, folder) or _by_folders(card, folder)
    except OSError as error:  # such as a folder that belongs to someone else
        raise UserError(f"{error.filename or folder} cannot be read: {error.strerror}") from error


def _spellings(card: FolderCard) -> dict[str, str]:
    """The short forms of domains by the plain names that their folders and lists may have."""
    known: dict[str, str] = {}
    for short, domain in card.domains.items():
        known |= {plain(name): short for name in (short, domain.name, *domain.folders)}
    return known


def _subfolders(folder: Path) -> list[Path]:
    """Those of `folder` that are not hidden, in order."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _levels(folder: Path, depth: int) -> Iterator[Path]:
    """`folder` and the folders below it, the nearer ones first, `depth` levels down."""
    level = [folder]
    for remaining in range(depth, -1, -1):
        yield from level
        level = [below for each in level for below in _subfolders(each)] if remaining else []


def is_image(name: str) -> bool:
    """Whether a file is called like an image (macOS' companions, `._x.jpg`, are hidden files and no images)."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def images_below(folder: Path) -> list[Path]:
    """The images in `folder` and below, in order."""
    return sorted(Path(at, name) for at, _, names in os.walk(folder) for name in names if is_image(name))


# ------------------------------------------------------------------------------------ a folder for each domain


def _by_folders(card: FolderCard, folder: Path) -> Found:
    """A folder for each domain, in it one for each class."""
    domains = _domain_folders(card, folder)
    top = next(iter(domains.values())).parent
    inside = "" if top == folder else f" in {top.relative_to(folder)}"
    domainbed = (
        " (as DomainBed has it)" if plain(top.name) in {"pacs", "vlcs", "officehome", "domainnet"} else ""
    )
    names = ", ".join(f"{path.name} = {short}" for short, path in domains.items())
    found = Found(f"a folder for each domain{inside}{domainbed}: {names}")
    if card.split == "lists":
        found.notes.append(
            "there are no lists of a split for every domain: every image is for training and for testing"
        )
    classes = {plain(name): label for label, name in enumerate(card.classes)}
    for short, path in domains.items():
        for class_folder in _class_folders(card, path, classes):
            label = classes.get(plain(class_folder.name))
            if label is None:
                found.notes.append(f"left aside: {class_folder}, as {card.name} has no such class")
            else:
                found.images += [Image(short, label, BOTH, image) for image in images_below(class_folder)]
    return found


def _domain_folders(card: FolderCard, folder: Path) -> dict[str, Path]:
    """The folder of every domain, by its short form. UserError that says which are missing."""
    known, most = _spellings(card), {}
    for top in _levels(folder, DEPTH):
        here: dict[str, Path] = {}
        for below in _subfolders(top):
            short = known.get(plain(below.name))
            if short in here:
                raise UserError(
                    f"{here[short]} and {below} would both be domain {short} of {card.name}; take one away"
                )
            if short is not None:
                here[short] = below
        most = max(most, here, key=len)
        if len(most) == len(card.domains):
            return {short: most[short] for short in card.domains}
    missing = ", ".join(
        f"{short} (a folder called {' or '.join(dict.fromkeys([domain.name, *domain.folders]))})"
        for short, domain in card.domains.items()
        if short not in most
    )
    found = f"found {', '.join(str(path) for path in most.values())}, but " if most else ""
    raise UserError(
        f"{folder} is no layout of {card.name} that is known: {found}missing {missing}; nothing was imported. Expected "
        f"FOLDER/DOMAIN/CLASS/*.jpg, or lists called DOMAIN.txt"
    )


def _class_folders(card: FolderCard, domain: Path, classes: dict[str, int]) -> list[Path]:
    """The folders of classes in that of a domain, or in its one folder (Office-31 has amazon/images/bike)."""
    at = domain
    while True:
        folders = _subfolders(at)
        if any(plain(folder.name) in classes for folder in folders):
            return folders
        if len(folders) != 1:
            few = ", ".join(card.classes[:3])
            raise UserError(f"{at} holds no folder that is called like a class of {card.name} ({few}, …)")
        (at,) = folders


# ------------------------------------------------------------------------------------------------ image lists


class ImageList(NamedTuple):
    """A text file of lines `path number` for one domain."""

    path: Path
    domain: str
    split: int


class Line(NamedTuple):
    """One line of a list, that says `path number`."""

    at: str
    path: PurePosixPath
    number: int


def _by_lists(card: FolderCard, folder: Path) -> Found | None:
    """By the lists in `folder`; None if a domain has none, or none of its images is there."""
    lists = list(_lists_in(card, folder))
    if {each.domain for each in lists} != set(card.domains):
        return None
    lines = {each: list(_lines(each.path)) for each in lists}
    class_of = _ClassOf(card, lines.values())
    found = Found(
        "image lists: " + ", ".join(f"{each.path.relative_to(folder)} = {each.domain}" for each in lists)
    )
    splits: dict[tuple[str, Path], Image] = {}
    for each, listed in lines.items():
        places, lost = _Places(folder, each.path), 0
        for line in listed:
            path = places.find(line.path)
            if path is None:
                lost += 1
                continue
            split = each.split if card.split == "lists" else BOTH
            before = splits.get((each.domain, path))
            if before is not None and before.split != split:
                split = BOTH
            splits[each.domain, path] = Image(each.domain, class_of(line), split, path)
        if lost:
            found.notes.append(
                f"{each.path.relative_to(folder)} lists {lost:,} images that are not in {folder}"
            )
    found.images = list(splits.values())
    return found if {image.domain for image in found.images} == set(card.domains) else None


def _lists_in(card: FolderCard, folder: Path) -> Iterator[ImageList]:
    """The lists in `folder` and two levels down that are called like a domain."""
    known = _spellings(card)
    for at in _levels(folder, DEPTH - 1):
        for path in sorted(at.glob("*.txt")):
            named = _named(path.stem, known) or _named(f"{at.name}_{path.stem}", known)
            if named is not None:
                yield ImageList(path, *named)


def _named(stem: str, known: dict[str, str]) -> tuple[str, int] | None:
    """The domain and the split that a list's name states: `art_painting_test_kfold` is of A, for testing."""
    words = [word for word in re.split(r"[\s_.-]+", stem) if word]
    split = BOTH
    while words:
        domain = known.get(plain("".join(words)))
        if domain is not None:
            return domain, split
        last = words.pop().casefold()
        if last in SPLIT_WORDS:
            split = SPLIT_WORDS[last]
        elif last not in OTHER_WORDS:
            return None
    return None


def _lines(path: Path) -> Iterator[Line]:
    """The lines of a list. UserError for one of another form."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of images: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isdecimal():
            raise UserError(f"{path}, line {number}: expected a path and the number of a class, not {line!r}")
        yield Line(f"{path}, line {number}", PurePosixPath(name.strip().replace("\\", "/")), int(label))


class _ClassOf:
    """Gives the class of a line: the folder of its image, if that is called like one, else its number.

    Lists number classes in orders of their own (the transfer-learning library's of Office-Home begin with Drill) and
    from 0 or from 1, so the folder is what counts; but a number has to stand for one class.
    """

    def __init__(self, card: FolderCard, lists: Iterable[list[Line]]) -> None:
        self.card = card
        self.classes = {plain(name): label for label, name in enumerate(card.classes)}
        self.meant: dict[int, int] = {}
        numbers = Counter(line.number for lines in lists for line in lines)
        self.first = 1 if min(numbers, default=0) == 1 and max(numbers) == len(card.classes) else 0

    def __call__(self, line: Line) -> int:
        label = self.classes.get(plain(line.path.parent.name))
        if label is None:
            label = line.number - self.first
        if not 0 <= label < len(self.card.classes):
            raise UserError(
                f"{line.at}: {line.number} is no class of the {len(self.card.classes)} of {self.card.name}"
            )
        meant = self.meant.setdefault(line.number, label)
        if meant != label:
            names = self.card.classes
            raise UserError(
                f"{line.at}: {line.number} stands for {names[label]}, but before for {names[meant]}"
            )
        return label


class _Places:
    """Where the images of one list are: its paths may begin with folders of the machine that it was written on."""

    def __init__(self, folder: Path, file: Path) -> None:
        above = [parent for parent in file.parents if parent == folder or folder in parent.parents]
        self.bases = list(dict.fromkeys([folder, *above, *_subfolders(folder)]))
        self.last, self.lost = (folder, 0), 0

    def find(self, path: PurePosixPath) -> Path | None:
        """The image that a list calls `path`; None if it is not there."""
        parts = [part for part in path.parts if part != "/"]
        if ".." in parts:
            return None
        base, dropped = self.last
        found = base.joinpath(*parts[dropped:])
        if found.is_file():
            return found
        if self.lost < MOST_LOST:
            for dropped in range(len(parts)):
                for base in self.bases:
                    found = base.joinpath(*parts[dropped:])
                    if found.is_file():
                        self.last = base, dropped
                        return found
        self.lost += 1
        return None
