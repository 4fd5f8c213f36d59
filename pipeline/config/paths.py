"""Where the images of data sets are, and what identifies those that are in place."""

import json
import os
from pathlib import Path

from pipeline.config.cards import DatasetCard, FolderCard
from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT

IN_PLACE = "dataset.json"
"""The file that says of a data set's folder what is in it; written last (see pipeline.data.inventory)."""

PUBLISHED = ROOT / "results" / "published"
"""The folder of others' figures."""


def data_folder(name: str) -> Path:
    """Where the data set called `name` is, or will be: under $TERRABENCH_DATA, else datasets/data."""
    return Path(os.environ.get("TERRABENCH_DATA") or ROOT / "datasets" / "data").absolute() / name


def store_folder(named: Path | None) -> Path:
    """The folder of the store that the user named, else $TERRABENCH_STORE, else results/store."""
    return Path(named or os.environ.get("TERRABENCH_STORE") or ROOT / "results" / "store").resolve()


def resolve_card(card: DatasetCard) -> DatasetCard:
    """`card` with what identifies its images, if they are in place, so that keys of jobs change with them."""
    if not isinstance(card, FolderCard):
        return card
    file = data_folder(card.name) / IN_PLACE
    if not file.exists():
        return card
    try:
        return card.model_copy(update={"content": json.loads(file.read_text(encoding="utf-8"))["content"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}); import {card.name} again") from error
