"""The inventory of an imported dataset of files: one row per image, and a record of the import.

    <data>/<name>/images/<domain>/<class>/...   links to the images, or the images themselves
    <data>/<name>/index.csv                     domain, label, split, name (below images/<domain>/), bytes
    <data>/<name>/dataset.json                  the import's record with the hash of index.csv; written last

A dataset is in place once dataset.json exists. <data> is $TERRABENCH_DATA, else datasets/data.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from pipeline.config import IN_PLACE, DatasetCard, FolderCard, data_folder
from pipeline.config.documents import short_repr
from pipeline.core.errors import UserError
from pipeline.core.json_files import read_object
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import BOTH, SPLITS
from pipeline.data.image_validation import faults, quiet_decoding
from pipeline.data.sources.instructions import not_in_place

INDEX = "index.csv"
IMAGES = "images"
MAX_NAMED = 5
"""Number of classes that a sentence names."""

COLUMNS: dict[str, type[str] | str] = {
    "domain": str,
    "label": "int64",
    "split": "uint8",
    "name": str,
    "bytes": "int64",
}
"""The columns of index.csv; `split` is 0 for training, 1 for testing and 2 for both."""


@dataclass(frozen=True)
class ImportRecord:
    """The content of dataset.json.

    Attributes:
        layout: The layout that was recognised, in words.
        folder: The folder that was imported.
        how: `symbolic links`, `hard links` or `copies`.
        images: Number of images by domain.
        notes: What was left out, and why.
        content: First 16 hex digits of the sha256 of index.csv; it identifies the images in keys of jobs.
    """

    layout: str
    folder: str
    how: str
    images: dict[str, int]
    notes: list[str]
    content: str


def write_inventory(
    place: Path, table: pd.DataFrame, layout: str, folder: Path, how: str, notes: list[str]
) -> ImportRecord:
    """Write index.csv and dataset.json of the dataset in `place`.

    Args:
        place: The dataset's folder.
        table: One row per image with the columns of COLUMNS.
        layout: See ImportRecord, like the arguments below.
        folder: The folder that was imported.
        how: How the images were put in place.
        notes: What was left out.
    """
    text = table[list(COLUMNS)].to_csv(index=False, lineterminator="\n")
    counts = {str(domain): int(count) for domain, count in table.groupby("domain", sort=False).size().items()}
    content = hashlib.sha256(text.encode()).hexdigest()[:16]
    record = ImportRecord(layout, str(folder), how, counts, notes, content)
    write_atomic(place / INDEX, text)
    write_atomic(place / IN_PLACE, json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n")
    return record


def read_import_record(card: DatasetCard) -> ImportRecord | None:
    """Read dataset.json of `card`; None if it does not exist. UserError if it cannot be read."""
    file = data_folder(card.name) / IN_PLACE
    if not file.exists():
        return None
    remedy = f"import {card.name} again"
    try:
        return TypeAdapter(ImportRecord).validate_python(read_object(file, remedy))
    except ValidationError as error:
        fields = ", ".join(sorted({short_repr(one["loc"][0]) for one in error.errors()}))
        raise UserError(f"{file} cannot be read (missing or wrong: {fields}); {remedy}") from error


def read_inventory(card: FolderCard) -> pd.DataFrame:
    """Read index.csv of `card`: one row per image with the columns of COLUMNS.

    Raises:
        UserError: The dataset is not imported, or index.csv was changed; the message names the command to
            run.
    """
    record, file = read_import_record(card), data_folder(card.name) / INDEX
    if record is None:
        raise UserError(not_in_place(card))
    try:
        content = file.read_bytes()
        table = pd.read_csv(file, dtype=COLUMNS, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); import {card.name} again") from error
    if hashlib.sha256(content).hexdigest()[:16] != record.content:
        raise UserError(f"{file} was changed; import {card.name} again")
    return table


@dataclass(frozen=True)
class Difference:
    """A count of images that differs from the card's.

    Attributes:
        domain: The domain's short form.
        class_name: The class, or None if the count is that of the whole domain.
        expected: The card's count.
        found: The inventory's count.
        purpose: `testing` if only images for testing are counted, else empty.
    """

    domain: str
    class_name: str | None
    expected: int
    found: int
    purpose: str = ""

    def __str__(self) -> str:
        what = f"domain {self.domain}" + (f", class {self.class_name}" if self.class_name else "")
        images = f"images for {self.purpose}" if self.purpose else "images"
        return f"{what}: {self.found:,} {images}, but the card states {self.expected:,}"


def differences(card: FolderCard, table: pd.DataFrame) -> Iterator[Difference]:
    """Yield the counts that differ from the card's: by domain all images, those for testing, the classes."""
    for short, domain in card.domains.items():
        rows = table[table["domain"] == short]
        labels, tested = rows["label"], int(rows["split"].isin([SPLITS["test"], BOTH]).sum())
        if len(labels) != domain.images:
            yield Difference(short, None, domain.images, len(labels))
        if not len(labels):  # the domain was not imported: its classes say nothing more
            continue
        if domain.test is not None and tested != domain.test:
            yield Difference(short, None, domain.test, tested, "testing")
        found = labels.value_counts()
        for label, name in enumerate(card.classes):
            count = int(found.get(label, 0))
            if domain.per_class is not None and count != domain.per_class[label]:
                yield Difference(short, name, domain.per_class[label], count)


def absent_classes(card: FolderCard, table: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each domain that lacks classes which other domains have, and one for all domains.

    Domains without any image are left out.
    """
    there = {short: set(table.loc[table["domain"] == short, "label"]) for short in card.domains}
    anywhere = set().union(*there.values())
    nowhere = [name for label, name in enumerate(card.classes) if label not in anywhere]
    if nowhere:
        yield f"no domain has images of {_some(nowhere)}"
    for short, labels in there.items():
        lacking = [card.classes[label] for label in sorted(anywhere - labels)]
        if labels and lacking:
            yield (
                f"domain {short} has no images of {_some(lacking)}, which other domains have: as a source it "
                "cannot teach them, as a target it does not test them"
            )


def _some(names: list[str]) -> str:
    """Join names with commas; of many only the first."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def unreadable(card: FolderCard, table: pd.DataFrame) -> Iterator[str]:
    """Decode every image in place; yield a line for each that cannot be used. Missing images are left out."""
    folder = data_folder(card.name) / IMAGES
    named = (f"{folder}/{domain}/{name}" for domain, name in zip(table["domain"], table["name"], strict=True))
    paths = [path for path in named if os.path.isfile(path)]
    with quiet_decoding():
        for path, reason in zip(paths, faults(paths), strict=True):
            if reason is not None:
                yield f"{path} {reason}"


def damaged(card: FolderCard, table: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each image in place that is missing or whose size changed since the import."""
    folder = data_folder(card.name) / IMAGES
    for domain, name, size in zip(table["domain"], table["name"], table["bytes"], strict=True):
        path = f"{folder}/{domain}/{name}"
        if not os.path.isfile(path):
            yield f"{path} is missing"
        elif os.path.getsize(path) != size:
            yield f"{path} has {os.path.getsize(path):,} bytes, but had {size:,} when it was imported"
