"""Recognise a dataset by its folders: FOLDER/DOMAIN/CLASS/*.jpg."""

from pathlib import Path

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
    images_below,
    subfolders,
    walk_levels,
)

DOMAINBED_FOLDERS = {"pacs", "vlcs", "officehome", "domainnet"}
"""Simplified names of the folders of DomainBed's datasets."""


def recognise_folders(card: FolderCard, folder: Path) -> Layout:
    """Find a folder for each domain, and in it a folder for each class.

    Raises:
        UserError: A domain has no folder, two folders could be the same domain, or a domain has no class
            folder.
    """
    domains = _find_domains(card, folder)
    top = next(iter(domains.values())).parent
    inside = "" if top == folder else f" in {top.relative_to(folder)}"
    domainbed = " (the layout of DomainBed)" if simplified(top.name) in DOMAINBED_FOLDERS else ""
    recognised = ", ".join(f"{path.name} = {short}" for short, path in domains.items())
    found = Layout(f"a folder for each domain{inside}{domainbed}: {recognised}")
    if card.split == "lists":
        found.notes.append(
            "some domain has no lists of a split: every image is used for training and for testing"
        )
    names = ClassNames(card)
    for short, path in domains.items():
        folders: dict[int, Path] = {}
        for class_folder in _find_classes(card, path, names):
            label = names.label(class_folder.name)
            if label is None:
                found.notes.append(f"ignored: {class_folder}, because {card.name} has no class of this name")
            else:
                earlier = folders.setdefault(label, class_folder)
                if earlier != class_folder:
                    found.notes.append(f"{earlier} and {class_folder} are both class {card.classes[label]}")
                found.images += [
                    FoundImage(short, label, BOTH, image) for image in images_below(class_folder)
                ]
    return found


def _find_domains(card: FolderCard, folder: Path) -> dict[str, Path]:
    """Find the folder of every domain, by its short form; UserError that lists the missing ones."""
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
            return {short: best[short] for short in card.domains}
    missing = ", ".join(
        f"{short} (a folder called {' or '.join(dict.fromkeys([domain.name, *domain.folders]))})"
        for short, domain in card.domains.items()
        if short not in best
    )
    found = f"found {', '.join(str(path) for path in best.values())}, but " if best else ""
    raise UserError(
        f"{folder} has no known layout of {card.name}: {found}missing {missing}; nothing was imported. "
        "Expected FOLDER/DOMAIN/CLASS/*.jpg, or lists called DOMAIN.txt"
    )


def _find_classes(card: FolderCard, domain: Path, names: ClassNames) -> list[Path]:
    """List the class folders of a domain, which may lie in its only subfolder (Office-31: amazon/images)."""
    at = domain
    while True:
        folders = subfolders(at)
        if any(names.label(folder.name) is not None for folder in folders):
            return folders
        if len(folders) != 1:
            examples = ", ".join(card.classes[:3])
            raise UserError(f"{at} contains no folder named like a class of {card.name} ({examples}, …)")
        (at,) = folders
