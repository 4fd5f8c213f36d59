"""Draft a dataset card from a folder of images, for its author to edit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.config import FolderCard, yaml_text
from pipeline.config.names import simplified
from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic
from pipeline.data.sources.scan import images_below, subfolders

IMAGE_SIZE = 224
"""The size in pixels that a draft states; most pretrained networks take it."""

HEADER = """\
# Drafted from {folder}. Edit titles and names; list classes whose names are no words under `prompt_words`;
# add `licence` and `citation`, if there are any.
"""


@dataclass(frozen=True)
class Draft:
    """A drafted card.

    Attributes:
        path: The file that was written.
        notes: What its author should look at.
    """

    path: Path
    notes: list[str]


def draft_card(name: str, folder: Path) -> Draft:
    """Write ./datasets/NAME.yaml for the images in FOLDER/DOMAIN/CLASS/*.

    Every folder with a subfolder of images becomes a domain. Folders of several domains are one class if
    their names differ in nothing but case, spaces and signs.

    Raises:
        UserError: The card exists already, `name` is no name, or `folder` has no images in this layout.
    """
    path = Path.cwd() / "datasets" / f"{name}.yaml"
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    counts = _count(folder)
    if not counts:
        raise UserError(f"{folder} has no folders of domains: expected FOLDER/DOMAIN/CLASS/*.jpg")
    classes = _spellings(counts)
    card = {
        "name": name,
        "title": name,
        "image_size": IMAGE_SIZE,
        "classes": list(classes.values()),
        "domains": {domain: _domain(domain, found, classes) for domain, found in counts.items()},
        "sources": [{"by": "a folder of the author"}],
    }
    try:
        FolderCard.model_validate(card)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "names"
        raise UserError(f"{folder} gives no valid card: {where}: {first['msg']}") from error
    if path.exists():
        raise UserError(f"{path} exists already; delete it, or choose another name")
    write_atomic(path, HEADER.format(folder=folder.absolute()) + yaml_text.write(card))
    notes = [
        f"{domain} has no images of {spelling}"
        for domain, found in counts.items()
        for key, spelling in classes.items()
        if not any(simplified(each) == key or each == spelling for each in found)
    ]
    return Draft(path, notes)


def _count(folder: Path) -> dict[str, dict[str, int]]:
    """Count the images of each class folder of each domain folder; leave out folders without images."""
    counts: dict[str, dict[str, int]] = {}
    for domain in subfolders(folder):
        found = {each.name: len(images_below(each)) for each in subfolders(domain)}
        found = {name: count for name, count in found.items() if count}
        if found:
            counts[domain.name] = found
    return counts


def _spellings(counts: dict[str, dict[str, int]]) -> dict[str, str]:
    """List the classes of all domains by what tells them apart, sorted by name.

    That is the simplified name, or the name itself if a domain has two classes with one simplified name.
    """
    ambiguous = set()
    for found in counts.values():
        names = [simplified(name) for name in found]
        ambiguous |= {name for name in names if names.count(name) > 1 or not name}
    classes: dict[str, str] = {}
    for name in (name for found in counts.values() for name in found):
        key = simplified(name)
        classes.setdefault(name if key in ambiguous else key, name)
    return dict(sorted(classes.items(), key=lambda item: item[1]))


def _domain(name: str, found: dict[str, int], classes: dict[str, str]) -> dict[str, Any]:
    """State a domain with its counts."""
    per_class = [
        sum(count for each, count in found.items() if each == key or simplified(each) == key)
        for key in classes
    ]
    return {"name": name, "images": sum(per_class), "per_class": per_class}
