"""Recognise a dataset by image lists: text files with one line `path number` per image."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipeline.config import FolderCard
from pipeline.config.names import simplified
from pipeline.core.errors import UserError
from pipeline.data.image_sets import BOTH
from pipeline.data.sources.scan import (
    MAX_DEPTH,
    ClassNames,
    FoundImage,
    Layout,
    domain_names,
    subfolders,
    walk_levels,
)

SPLIT_WORDS = {"train": 0, "crossval": 0, "val": 0, "test": 1}
"""The split of a list, by a word in its name."""

IGNORED_WORDS = {"list", "image", "images", "imgs", "labels", "kfold", "all", "full"}
"""Further words that may follow the domain in a list's name."""

MAX_MISSES = 50
"""Number of missing images of a list after which further ones are searched in one folder only."""


class ImageList(NamedTuple):
    """A list of images of one domain.

    Attributes:
        path: The text file.
        domain: The domain's short form.
        split: 0 for training, 1 for testing, 2 for both.
    """

    path: Path
    domain: str
    split: int


class Line(NamedTuple):
    """One line of a list.

    Attributes:
        where: File and line number, for messages.
        path: The image's path.
        number: The number of its class.
    """

    where: str
    path: PurePosixPath
    number: int


def recognise_lists(card: FolderCard, folder: Path) -> Layout | None:
    """Collect the images that lists in `folder` name; None unless lists of every domain name existing images.

    Raises:
        UserError: A list is malformed, or its numbers contradict the class folders.
    """
    lists = list(_find_lists(card, folder))
    notes: list[str] = []
    if {each.domain for each in lists} != set(card.domains):
        return None
    if card.split == "lists":
        lists, notes = _without_unions(card, lists, folder)
    lines = {each: list(_read_lines(each.path)) for each in lists}
    label_of = _LabelOfLine(card, lines.values())
    names = ", ".join(f"{each.path.relative_to(folder)} = {each.domain}" for each in lists)
    found = Layout(f"image lists: {names}", notes=notes)
    images: dict[tuple[str, Path], FoundImage] = {}
    for each, listed in lines.items():
        finder, missing = _ImageFinder(folder, each.path), 0
        for line in listed:
            path = finder.find(line.path)
            if path is None:
                missing += 1
                continue
            split = each.split if card.split == "lists" else BOTH
            earlier = images.get((each.domain, path))
            if earlier is not None and earlier.split != split:
                split = BOTH
            images[each.domain, path] = FoundImage(each.domain, label_of(line), split, path)
        if missing:
            found.notes.append(
                f"{each.path.relative_to(folder)} lists {missing:,} images that are not in {folder}"
            )
    found.images = list(images.values())
    if {image.domain for image in found.images} != set(card.domains):
        return None
    if card.split == "lists":
        found.notes += _check_splits(card, lists, found.images)
    return found


def _without_unions(
    card: FolderCard, lists: list[ImageList], folder: Path
) -> tuple[list[ImageList], list[str]]:
    """Remove lists that state no split from domains with other lists that do; describe them in notes."""
    stating = {each.domain for each in lists if each.split != BOTH}
    unions = [each for each in lists if each.split == BOTH and each.domain in stating]
    notes = [
        f"ignored: {each.path.relative_to(folder)}, because other lists of {each.domain} state a split"
        for each in unions
    ]
    notes += [
        f"no list of {short} states a split: every image is used for training and for testing"
        for short in card.domains
        if short not in stating
    ]
    return [each for each in lists if each not in unions], notes


def _check_splits(card: FolderCard, lists: list[ImageList], images: list[FoundImage]) -> list[str]:
    """Check that every domain has images of both splits; describe those in several lists of a split in notes.

    Raises:
        UserError: The lists of a domain name no image for training, or none for testing.
    """
    counts = Counter((image.domain, image.split) for image in images)
    stating = {each.domain for each in lists if each.split != BOTH}
    notes = []
    for short in card.domains:
        for split, purpose in ((0, "training"), (1, "testing")):
            if not counts[short, split] and not counts[short, BOTH]:
                names = ", ".join(each.path.name for each in lists if each.domain == short)
                raise UserError(
                    f"the lists of {short}, {names}, name no image for {purpose}; add the missing list, or "
                    "remove all lists to use every image for training and for testing"
                )
        if short in stating and counts[short, BOTH]:
            notes.append(
                f"{counts[short, BOTH]:,} images of {short} are in lists for training and for testing"
            )
    return notes


def _find_lists(card: FolderCard, folder: Path) -> Iterator[ImageList]:
    """Yield the text files in `folder` and two levels below whose names contain a domain."""
    known = domain_names(card)
    for at in walk_levels(folder, MAX_DEPTH - 1):
        for path in sorted(at.glob("[!.]*.txt")):
            parsed = _parse_name(path.stem, known) or _parse_name(f"{at.name}_{path.stem}", known)
            if parsed is not None:
                yield ImageList(path, *parsed)


def _parse_name(stem: str, known: dict[str, str]) -> tuple[str, int] | None:
    """Parse a list's name into domain and split: `art_painting_test_kfold` is domain A, for testing."""
    words = [word for word in re.split(r"[\s_.-]+", stem) if word]
    split = BOTH
    while words:
        domain = known.get(simplified("".join(words)))
        if domain is not None:
            return domain, split
        last = words.pop().casefold()
        if last in SPLIT_WORDS:
            split = SPLIT_WORDS[last]
        elif last not in IGNORED_WORDS:
            return None
    return None


def _read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a list; UserError if one has another form."""
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


class _LabelOfLine:
    """Determine the label of a line: by the image's folder if it is named like a class, else by the number.

    Lists start at 0 or 1 and number classes in an order of their own; those of the transfer-learning library
    for Office-Home start with Drill. The folder therefore decides, but one number must always stand for one
    class.
    """

    def __init__(self, card: FolderCard, lists: Iterable[list[Line]]) -> None:
        self.card, self.names = card, ClassNames(card)
        self.label_by_number: dict[int, int] = {}
        numbers = Counter(line.number for lines in lists for line in lines)
        self.first = 1 if min(numbers, default=0) == 1 and max(numbers) == len(card.classes) else 0

    def __call__(self, line: Line) -> int:
        classes = self.card.classes
        label = self.names.label(line.path.parent.name)
        if label is None:
            label = line.number - self.first
        if not 0 <= label < len(classes):
            raise UserError(
                f"{line.where}: {line.number} is no class: {self.card.name} has {len(classes)} classes"
            )
        earlier = self.label_by_number.setdefault(line.number, label)
        if earlier != label:
            raise UserError(
                f"{line.where}: {line.number} stands for {classes[label]}, but in an earlier line for "
                f"{classes[earlier]}"
            )
        return label


class _ImageFinder:
    """Find the images of one list, whose paths may start with folders of another machine.

    Args:
        folder: The imported folder.
        file: The list.
    """

    def __init__(self, folder: Path, file: Path) -> None:
        above = [parent for parent in file.parents if parent == folder or folder in parent.parents]
        self.bases = list(dict.fromkeys([folder, *above, *subfolders(folder)]))
        self.last_match, self.misses = (folder, 0), 0

    def find(self, path: PurePosixPath) -> Path | None:
        """Return the image that a list calls `path`; None if it does not exist or lies outside."""
        parts = [part for part in path.parts if part != "/"]
        if ".." in parts:
            return None
        base, dropped = self.last_match
        found = base.joinpath(*parts[dropped:])
        if found.is_file():
            return found
        if self.misses < MAX_MISSES:
            for dropped in range(len(parts)):
                for base in self.bases:
                    found = base.joinpath(*parts[dropped:])
                    if found.is_file():
                        self.last_match = base, dropped
                        return found
        self.misses += 1
        return None
