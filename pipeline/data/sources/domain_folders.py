"""Recognise a dataset by its folders: FOLDER/DOMAIN/CLASS/*.jpg, or FOLDER/DOMAIN/train/CLASS/*.jpg."""

from collections.abc import Collection, Mapping
from pathlib import Path

from pipeline.config import FolderCard
from pipeline.config.names import simplified
from pipeline.core.errors import UserError
from pipeline.data.image_sets import BOTH
from pipeline.data.sources.scan import (
    MAX_DEPTH,
    SPLIT_WORDS,
    ClassNames,
    FoundImage,
    Layout,
    domain_names,
    images_below,
    is_image,
    misnamed_images,
    subfolders,
    walk_levels,
)

DOMAINBED_FOLDERS = {"pacs", "vlcs", "officehome", "domainnet"}
"""Simplified names of the folders of DomainBed's datasets."""


MIN_DOMAINS = 2
"""Number of domains that must be there: a task has a source and a target."""


def recognise_folders(card: FolderCard, folder: Path) -> Layout:
    """Find a folder for each domain, or for some of them, and in it a folder for each class.

    Raises:
        UserError: Fewer than two domains have a folder, two folders could be the same domain, or a domain has
            no class folder.
    """
    domains = find_domains(card, folder)
    if len(domains) < MIN_DOMAINS:
        raise UserError(_too_few(card, folder, domains))
    top = next(iter(domains.values())).parent
    inside = "" if top == folder else f" in {top.relative_to(folder)}"
    domainbed = " (the layout of DomainBed)" if simplified(top.name) in DOMAINBED_FOLDERS else ""
    recognised = ", ".join(f"{path.name} = {short}" for short, path in domains.items())
    found = Layout(f"a folder for each domain{inside}{domainbed}: {recognised}")
    found.notes += missing_domains(card, domains)
    names = ClassNames(card)
    misnamed: list[Path] = []
    for short, path in domains.items():
        folders: dict[tuple[Path, int], Path] = {}
        split_folders = _find_split_folders(path, names)
        splits = _splits(card, split_folders)
        if split_folders:
            found.notes.append(_describe_splits(path, splits))
        for class_folder in _find_classes(card, path, split_folders, names):
            label = names.label(class_folder.name)
            if label is None:
                found.notes.append(f"ignored: {class_folder}, because {card.name} has no class of this name")
            else:
                earlier = folders.setdefault((class_folder.parent, label), class_folder)
                if earlier != class_folder:
                    found.notes.append(f"{earlier} and {class_folder} are both class {card.classes[label]}")
                misnamed += misnamed_images(class_folder)
                split = splits.get(class_folder.parent, BOTH)
                found.images += [
                    FoundImage(short, label, split, image) for image in images_below(class_folder)
                ]
    if misnamed:
        found.notes.append(
            f"left out: {len(misnamed):,} files that begin like an image but are not named like one, for "
            f"example {misnamed[0]}; rename them to .jpg or .png (convert HEIC and AVIF), and import again"
        )
    if card.split == "lists" and any(image.split == BOTH for image in found.images):
        found.notes.append(
            "some domain has no lists of a split: every image is used for training and for testing"
        )
    return found


def find_domains(card: FolderCard, folder: Path) -> dict[str, Path]:
    """Find the folders of the domains, by their short forms, at the level that has most of them.

    Raises:
        UserError: Two folders could be the same domain.
    """
    known = domain_names(card)
    best: dict[str, Path] = {}
    for top in walk_levels(folder, MAX_DEPTH):
        here: dict[str, Path] = {}
        for below in subfolders(top):
            short = known.get(simplified(below.name))
            if short in here:
                raise UserError(
                    f"{here[short]} and {below} could both be domain {short} of {card.name}; take one away"
                )
            if short is not None:
                here[short] = below
        best = max(best, here, key=len)
        if len(best) == len(card.domains):
            break
    return {short: best[short] for short in card.domains if short in best}


def missing_domains(card: FolderCard, there: Collection[str]) -> list[str]:
    """Describe the domains that are not `there` in a note; none if all are."""
    missing = ", ".join(short for short in card.domains if short not in there)
    return [f"missing: {missing}; only tasks between {', '.join(there)} can be run"] if missing else []


def _too_few(card: FolderCard, folder: Path, found: Mapping[str, Path]) -> str:
    """Say which domains have no folder."""
    missing = ", ".join(
        f"{short} (a folder called {' or '.join(dict.fromkeys([domain.name, *domain.folders]))})"
        for short, domain in card.domains.items()
        if short not in found
    )
    there = f"found {', '.join(str(path) for path in found.values())}, but " if found else ""
    return (
        f"{folder} has no known layout of {card.name}: {there}missing {missing}; nothing was imported. "
        "Expected FOLDER/DOMAIN/CLASS/*.jpg, FOLDER/DOMAIN/train|test/CLASS/*.jpg, or lists called DOMAIN.txt"
    )


def _find_split_folders(domain: Path, names: ClassNames) -> list[Path]:
    """List the folders of a domain if they are folders of splits with class folders in them; else none.

    VisDA has a class `train`: what tells it from a split is that it contains no class folders.
    """
    folders = subfolders(domain)
    if all(folder.name.casefold() in SPLIT_WORDS and _has_classes(folder, names) for folder in folders):
        return folders
    return []


def _has_classes(folder: Path, names: ClassNames) -> bool:
    return any(names.label(below.name) is not None for below in subfolders(folder))


def _splits(card: FolderCard, folders: list[Path]) -> dict[Path, int]:
    """Return the split that each folder states: 0 or 1 if the card has splits and both exist, else 2."""
    stated = {folder: SPLIT_WORDS[folder.name.casefold()] for folder in folders}
    if card.split == "lists" and set(stated.values()) == {0, 1}:
        return stated
    return dict.fromkeys(folders, BOTH)


def _describe_splits(domain: Path, splits: dict[Path, int]) -> str:
    names = ", ".join(folder.name for folder in splits)
    if BOTH in splits.values():
        return f"{domain.name}: all images in {names} are used for training and for testing"
    tested = ", ".join(folder.name for folder, split in splits.items() if split)
    return f"{domain.name}: of {names}, the images in {tested} are for testing only"


def _find_classes(card: FolderCard, domain: Path, split_folders: list[Path], names: ClassNames) -> list[Path]:
    """List the class folders of a domain, which may lie in its folders of splits or in its only subfolder.

    The only subfolder is, for example, Office-31's amazon/images.
    """
    if split_folders:
        return [below for folder in split_folders for below in subfolders(folder)]
    at = domain
    while True:
        folders = subfolders(at)
        if any(names.label(folder.name) is not None for folder in folders):
            return folders
        if len(folders) != 1:
            raise UserError(_no_classes(card, at))
        (at,) = folders


def _no_classes(card: FolderCard, folder: Path) -> str:
    """Say that a folder contains no class folders, and why this may be."""
    examples = ", ".join(card.classes[:3])
    images = sum(is_image(path.name) for path in folder.iterdir())
    if images and not subfolders(folder):
        return (
            f"{folder} contains {images:,} images without labels: no folders named like the classes of "
            f"{card.name} ({examples}, …). A domain without labels cannot be used, because a target is "
            "tested with its labels, though never trained with them; sort its images into folders of the "
            "classes, or list them in a file DOMAIN.txt with the class of each"
        )
    return f"{folder} contains no folder named like a class of {card.name} ({examples}, …)"
