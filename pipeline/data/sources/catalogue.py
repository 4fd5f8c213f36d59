"""The catalogue of datasets: their cards, which of them are in place, and how to get the others."""

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from pipeline.config import BuiltCard, DatasetCard, FolderCard, data_folder, read_card
from pipeline.core.errors import UserError
from pipeline.core.paths import PROGRAM, yaml_files
from pipeline.data.sources.instructions import not_in_place
from pipeline.data.sources.inventory import (
    Difference,
    ImportRecord,
    absent_classes,
    damaged,
    differences,
    read_import_record,
    read_inventory,
    unreadable,
)

Card: TypeAlias = BuiltCard | FolderCard


@dataclass(frozen=True)
class Status:
    """Whether a dataset can be used.

    Attributes:
        in_place: Whether it is imported; always true if this project builds it.
        folder: Where its images are or would be; None if this project builds it.
        command: The command that gets it; None if it is in place.
    """

    in_place: bool
    folder: str | None
    command: str | None


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes:
        images: Number of images in the inventory.
        damaged: A line for each image that is missing or changed.
        unreadable: A line for each image that cannot be used, for example because it is truncated.
        absent: A sentence for each domain without images of some class; no fault in itself.
        differences: The counts that differ from the card's.
    """

    images: int
    damaged: list[str]
    unreadable: list[str]
    absent: list[str]
    differences: list[Difference]


def find_card(name: str) -> Card:
    """Read the card called `name`."""
    return _narrowed(read_card(name))


def find_folder_card(name: str) -> FolderCard:
    """Read the card called `name`; UserError if this project builds that dataset."""
    card = read_card(name)
    if not isinstance(card, FolderCard):
        raise UserError(
            f"{name} is built here by `prepare`, in seconds; there is nothing to fetch, import or verify"
        )
    return card


def all_cards() -> tuple[list[Card], list[str]]:
    """Read all cards, in the order of their names.

    Returns:
        The cards, and an error message for each card that cannot be read.
    """
    cards, errors = [], []
    for name in yaml_files("datasets"):
        try:
            cards.append(find_card(name))
        except UserError as error:
            errors.append(str(error))
    return cards, errors


def _narrowed(card: DatasetCard) -> Card:
    assert isinstance(card, BuiltCard | FolderCard)
    return card


def status(card: Card) -> Status:
    """Find out whether a dataset is in place."""
    if isinstance(card, BuiltCard):
        return Status(in_place=True, folder=None, command=None)
    folder = str(data_folder(card.name))
    if read_import_record(card) is not None:
        return Status(in_place=True, folder=folder, command=None)
    automatic = any(source.automatic for source in card.sources)
    arguments = f"fetch {card.name}" if automatic else f"import {card.name} FOLDER"
    return Status(in_place=False, folder=folder, command=f"{PROGRAM} datasets {arguments}")


def counts(card: Card) -> dict[str, dict[str, int]]:
    """Return the number of images of each domain: `train` and, if some are for testing only, `test`."""
    return {
        short: {"train": domain.train} | ({"test": domain.test} if domain.test else {})
        for short, domain in card.domains.items()
    }


def summary(card: Card) -> dict[str, Any]:
    """Summarise a dataset: name, title, domains, number of classes and images, and status."""
    return {
        "name": card.name,
        "title": card.title,
        "domains": list(card.domains),
        "classes": len(card.classes),
        "images": sum(sum(each.values()) for each in counts(card).values()),
        **asdict(status(card)),
    }


def describe(card: Card) -> dict[str, Any]:
    """Return everything that the card states, and the status."""
    fields = ("name", "title", "image_size", "classes", "licence", "citation")
    description = {name: getattr(card, name) for name in fields}
    description |= {"words": [card.word(label) for label in range(len(card.classes))]}
    description |= {"domains": {short: domain.model_dump() for short, domain in card.domains.items()}}
    if isinstance(card, FolderCard):
        description |= {"split": card.split, "sources": [source.model_dump() for source in card.sources]}
    return description | asdict(status(card))


def imported(card: FolderCard) -> tuple[ImportRecord, list[Difference]]:
    """Return the record of the import and the counts that differ from the card's.

    Raises:
        UserError: The dataset is not in place, or its inventory was changed.
    """
    record = read_import_record(card)
    if record is None:
        raise UserError(not_in_place(card))
    return record, list(differences(card, read_inventory(card)))


def verify(card: FolderCard) -> Verification:
    """Check that all imported images exist unchanged in size and can be decoded, and compare their counts.

    Raises:
        UserError: The dataset is not in place, or its inventory was changed.
    """
    table = read_inventory(card)
    return Verification(
        images=len(table),
        damaged=list(damaged(card, table)),
        unreadable=list(unreadable(card, table)),
        absent=list(absent_classes(card, table)),
        differences=list(differences(card, table)),
    )
