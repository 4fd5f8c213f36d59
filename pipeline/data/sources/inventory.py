"""What is in place of a data set whose images are files: one row an image, and where it came from.

    <data>/<name>/images/<domain>/<class>/...   links to the images, or the images themselves
    <data>/<name>/index.csv                     domain, label, split, name (below images/<domain>/), bytes
    <data>/<name>/dataset.json                  what was imported, and the hash of index.csv; written last

A data set is in place when dataset.json is there. <data> is $TERRABENCH_DATA, else datasets/data.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from pipeline.config import IN_PLACE, DatasetCard, FolderCard, data_folder
from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic

INDEX = "index.csv"
IMAGES = "images"
COLUMNS = {"domain": str, "label": "int64", "split": "uint8", "name": str, "bytes": "int64"}
"""`split` is 0 for training, 1 for testing, 2 for both."""


@dataclass(frozen=True)
class About:
    """dataset.json: what was recognised in which folder, how it was put in place, and the hash of index.csv."""

    layout: str
    folder: str
    how: str
    images: dict[str, int]
    notes: list[str]
    content: str


def write_inventory(
    place: Path, table: pd.DataFrame, layout: str, folder: Path, how: str, notes: list[str]
) -> About:
    """Writes index.csv and dataset.json of the data set in `place`. table: see COLUMNS."""
    text = table[list(COLUMNS)].to_csv(index=False, lineterminator="\n")
    counts = {str(domain): int(count) for domain, count in table.groupby("domain", sort=False).size().items()}
    content = hashlib.sha256(text.encode()).hexdigest()[:16]
    about = About(layout, str(folder), how, counts, notes, content)
    write_atomic(place / INDEX, text)
    write_atomic(place / IN_PLACE, json.dumps(asdict(about), indent=1, ensure_ascii=False) + "\n")
    return about


def read_about(card: DatasetCard) -> About | None:
    """What is known of the data set in place, None if there is none. UserError if that cannot be read."""
    file = data_folder(card.name) / IN_PLACE
    if not file.exists():
        return None
    try:
        return About(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}); import {card.name} again") from error


def read_inventory(card: FolderCard) -> pd.DataFrame:
    """index.csv of the data set in place. UserError with the command that mends it if there is none, or it is changed."""
    about, file = read_about(card), data_folder(card.name) / INDEX
    if about is None:
        raise UserError(not_in_place(card))
    try:
        content = file.read_bytes()
        table = pd.read_csv(file, dtype=COLUMNS, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); import {card.name} again") from error
    if hashlib.sha256(content).hexdigest()[:16] != about.content:
        raise UserError(f"{file} was changed; import {card.name} again")
    return table


def not_in_place(card: FolderCard) -> str:
    """That a data set is not there, and what gets it."""
    return (
        f"{card.name} is not in {data_folder(card.name)}: run_benchmark.py datasets fetch {card.name}, or, if you have "
        f"it, datasets import {card.name} FOLDER (data sets are elsewhere? set $TERRABENCH_DATA)"
    )


@dataclass(frozen=True)
class Difference:
    """Images of a domain, or of one class of it, that are more or fewer than the card says."""

    domain: str
    class_name: str | None
    expected: int
    found: int

    def __str__(self) -> str:
        what = f"domain {self.domain}" + (f", class {self.class_name}" if self.class_name else "")
        return f"{what}: {self.found:,} images, not the {self.expected:,} of the card"


def differences(card: FolderCard, table: pd.DataFrame) -> Iterator[Difference]:
    """Where the counts of images differ from the card's: each domain, then those of its classes that do."""
    for short, domain in card.domains.items():
        labels = table.loc[table["domain"] == short, "label"]
        if len(labels) != domain.images:
            yield Difference(short, None, domain.images, len(labels))
        found = labels.value_counts()
        for label, name in enumerate(card.classes):
            count = int(found.get(label, 0))
            if domain.per_class is not None and count != domain.per_class[label]:
                yield Difference(short, name, domain.per_class[label], count)


def damaged(card: FolderCard, table: pd.DataFrame) -> Iterator[str]:
    """The images in place that are missing, or of another size than when they were imported, in words."""
    folder = data_folder(card.name) / IMAGES
    for domain, name, size in zip(table["domain"], table["name"], table["bytes"], strict=True):
        path = f"{folder}/{domain}/{name}"
        if not os.path.isfile(path):
            yield f"{path} is missing"
        elif os.path.getsize(path) != size:
            yield f"{path} has {os.path.getsize(path):,} bytes, not {size:,}"
