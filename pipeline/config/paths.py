"""Where images, artifacts and results are, and what identifies the images of a dataset."""

import json
import os
from pathlib import Path

from pipeline.config.cards import DatasetCard, FolderCard
from pipeline.core.errors import UserError
from pipeline.core.paths import base_folder

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
    try:
        return card.model_copy(update={"content": json.loads(file.read_text(encoding="utf-8"))["content"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}); import {card.name} again") from error


def absent_domains(card: DatasetCard) -> list[str]:
    """List the domains of which no image was imported; none if the dataset is not imported at all.

    Raises:
        UserError: The file that states what was imported is damaged.
    """
    file = data_folder(card.name) / IN_PLACE
    if not isinstance(card, FolderCard) or not file.exists():
        return []
    try:
        imported = json.loads(file.read_text(encoding="utf-8"))["images"]
        return [domain for domain in card.domains if domain not in imported]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}); import {card.name} again") from error
