"""Where images, artifacts and results are, and what identifies the images of a dataset."""

import os
from pathlib import Path
from typing import TypeVar

from pipeline.config.cards import DatasetCard, FolderCard
from pipeline.core.errors import UserError
from pipeline.core.json_files import read_object
from pipeline.core.paths import base_folder

Stated = TypeVar("Stated")

IN_PLACE = "dataset.json"
"""The file that states what a dataset's folder holds, written last (see pipeline.data.sources.inventory)."""


def data_folder(name: str) -> Path:
    """Return the folder of the images of dataset `name`: under $TERRABENCH_DATA, else under datasets/data."""
    return Path(os.environ.get("TERRABENCH_DATA") or base_folder() / "datasets" / "data").absolute() / name


def store_folder(named: Path | None) -> Path:
    """Return the folder of the store: `named` by the user, else $TERRABENCH_STORE, else results/store."""
    return Path(named or os.environ.get("TERRABENCH_STORE") or base_folder() / "results" / "store").resolve()


def results_folder(named: Path | None) -> Path:
    """Return the folder of the results folders: `named` by the user, else results."""
    return named or base_folder() / "results"


def resolve_card(card: DatasetCard) -> DatasetCard:
    """Return `card` with the hash of its images, if they are in place, so that keys of jobs change with them.

    Raises:
        UserError: The file that has the hash is damaged.
    """
    if not isinstance(card, FolderCard):
        return card
    file = data_folder(card.name) / IN_PLACE
    if not file.exists():
        return card
    return card.model_copy(update={"content": _stated(card, file, "content", str)})


def absent_domains(card: DatasetCard) -> list[str]:
    """List the domains of which no image was imported; none if the dataset is not imported at all.

    Raises:
        UserError: The file that states what was imported is damaged.
    """
    file = data_folder(card.name) / IN_PLACE
    if not isinstance(card, FolderCard) or not file.exists():
        return []
    imported = _stated(card, file, "images", dict)
    return [domain for domain in card.domains if domain not in imported]


def _stated(card: DatasetCard, file: Path, field: str, kind: type[Stated]) -> Stated:
    """Return a field of the record of an import, which must be a `kind`."""
    remedy = f"import {card.name} again"
    value = read_object(file, remedy).get(field)
    if not isinstance(value, kind):
        raise UserError(f"{file} cannot be read ({field} is missing or of another type); {remedy}")
    return value
