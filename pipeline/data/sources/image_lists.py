"""Recognise a dataset by image lists: text files with one line `path label` per image."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipeline.config import FolderCard
from pipeline.config.names import simplified
from pipeline.core.errors import UserError
from pipeline.data.image_sets import BOTH
from pipeline.data.sources.domain_folders import MIN_DOMAINS, find_domains, missing_domains
from pipeline.data.sources.list_lines import LabelOfLine, Line, read_lines
from pipeline.data.sources.scan import (
    MAX_DEPTH,
    SPLIT_WORDS,
    ClassNames,
    FoundImage,
    Layout,
    domain_names,
    subfolders,
    walk_levels,
)

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


def recognise_lists(card: FolderCard, folder: Path) -> Layout | str:
    """Collect the images that lists in `folder` name.

    Returns:
        The layout; or why lists are ignored, which is empty if there are none. Lists are ignored if they name
        no image of a domain that has a folder, or images of fewer than two domains.

    Raises:
        UserError: A list is malformed, or its numbers contradict the class folders.
    """
    lists = list(_find_lists(card, folder))
    notes: list[str] = []
    if not lists:
        return ""
    reason = _why_ignored(card, folder, {each.domain for each in lists})
    if reason:
        return _ignored(lists, folder, reason)
    if card.split == "lists":
        lists, notes = _without_unions(card, lists, folder)
    names_of_classes = ClassNames(card)
    lines = {each: list(read_lines(each.path, names_of_classes)) for each in lists}
    label_of, about_numbers = _labels_of_lists(card, lines, names_of_classes)
    names = ", ".join(f"{each.path.relative_to(folder)} = {each.domain}" for each in lists)
    found = Layout(f"image lists: {names}", notes=[*notes, *about_numbers])
    images: dict[tuple[str, Path], FoundImage] = {}
    for each, listed in lines.items():
        finder, missing = _ImageFinder(card, folder, each), 0
        for line in listed:
            path = finder.find(line.path)
            if path is None:
                missing += 1
                continue
            split = each.split if card.split == "lists" else BOTH
            earlier = images.get((each.domain, path))
            if earlier is not None and earlier.split != split:
                split = BOTH
            images[each.domain, path] = FoundImage(each.domain, label_of[each](line), split, path)
        if missing:
            found.notes.append(
                f"{each.path.relative_to(folder)} lists {missing:,} images that are not in {folder}"
            )
    found.images = list(images.values())
    present = [short for short in card.domains if any(image.domain == short for image in found.images)]
    reason = _why_ignored(card, folder, present)
    if reason:
        return _ignored(lists, folder, reason)
    found.notes += missing_domains(card, present)
    if card.split == "lists":
        found.notes += _check_splits(lists, found.images)
    return found


def _why_ignored(card: FolderCard, folder: Path, listed: Collection[str]) -> str:
    """Return why lists of the domains `listed` are not enough; empty if they are.

    They are if they list all domains, or two or more and the others have no folders either.

    Args:
        card: The dataset's card.
        folder: The imported folder.
        listed: The domains of which lists name existing images.
    """
    missing = [short for short in card.domains if short not in listed]
    if not missing or (len(listed) >= MIN_DOMAINS and not set(missing) & set(find_domains(card, folder))):
        return ""
    return f"no list names an image of {', '.join(missing)} that is in {folder}"


def _ignored(lists: list[ImageList], folder: Path, reason: str) -> str:
    names = ", ".join(str(each.path.relative_to(folder)) for each in lists)
    return f"ignored: {names}, because {reason}"


def _without_unions(
    card: FolderCard, lists: list[ImageList], folder: Path
) -> tuple[list[ImageList], list[str]]:
    """Remove lists that state no split from domains with other lists that do; describe them in notes."""
    stating = {each.domain for each in lists if each.split != BOTH}
    listed = {each.domain for each in lists}
    unions = [each for each in lists if each.split == BOTH and each.domain in stating]
    notes = [
        f"ignored: {each.path.relative_to(folder)}, because other lists of {each.domain} state a split"
        for each in unions
    ]
    notes += [
        f"no list of {short} states a split: every image is used for training and for testing"
        for short in card.domains
        if short in listed - stating
    ]
    return [each for each in lists if each not in unions], notes


def _check_splits(lists: list[ImageList], images: list[FoundImage]) -> list[str]:
    """Check that every domain has images of both splits; describe those in several lists of a split in notes.

    Raises:
        UserError: The lists of a domain name no image for training, or none for testing.
    """
    counts = Counter((image.domain, image.split) for image in images)
    stating = {each.domain for each in lists if each.split != BOTH}
    notes = []
    for short in dict.fromkeys(image.domain for image in images):
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


def _labels_of_lists(
    card: FolderCard, lines: Mapping[ImageList, list[Line]], names: ClassNames
) -> tuple[dict[ImageList, LabelOfLine], list[str]]:
    """Make what labels the lines of each list; say in notes whether the lists number classes differently."""
    numbers = [line.number for listed in lines.values() for line in listed if line.number is not None]
    first = 1 if min(numbers, default=0) == 1 and max(numbers) == len(card.classes) else 0
    labels = {each: LabelOfLine(card, names, listed, first) for each, listed in lines.items()}
    seen: dict[int, tuple[ImageList, int]] = {}
    for each, label_of in labels.items():
        for number, label in label_of.label_by_number.items():
            earlier, before = seen.setdefault(number, (each, label))
            if before != label:
                return labels, [
                    f"{earlier.path.name} and {each.path.name} number the classes in different orders: the "
                    "folders of the images decide"
                ]
    return labels, []


class _ImageFinder:
    """Find the images of one list, whose paths may start with folders of another machine.

    Folders of other domains are not searched: an image that is missing must not be replaced by one of the
    same name in another domain.

    Args:
        card: The dataset's card.
        folder: The imported folder.
        each: The list.
    """

    def __init__(self, card: FolderCard, folder: Path, each: ImageList) -> None:
        self.folder, self.list_folder = folder, each.path.parent
        known = domain_names(card)
        above = [parent for parent in each.path.parents if parent == folder or folder in parent.parents]
        below = [
            path for path in subfolders(folder) if known.get(simplified(path.name)) in (None, each.domain)
        ]
        self.bases = list(dict.fromkeys([folder, *above, *below]))
        self.last_match, self.misses = (folder, 0), 0

    def find(self, path: PurePosixPath) -> Path | None:
        """Return the image that a list calls `path`; None if it does not exist in the imported folder."""
        if ".." in path.parts:
            found = Path(os.path.normpath(self.list_folder / path))
            if found.is_relative_to(self.folder) and os.path.isfile(found):
                return found
        # `..` at the start leads to a folder of another machine, like the folders of an absolute path.
        parts = [part for part in PurePosixPath(os.path.normpath(path)).parts if part not in ("/", "..")]
        base, dropped = self.last_match
        found = base.joinpath(*parts[dropped:])
        if os.path.isfile(found):
            return found
        if self.misses < MAX_MISSES:
            for dropped in range(len(parts)):
                for base in self.bases:
                    found = base.joinpath(*parts[dropped:])
                    if os.path.isfile(found):
                        self.last_match = base, dropped
                        return found
        self.misses += 1
        return None
