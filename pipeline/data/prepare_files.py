"""Prepare a dataset of files: decode every image once, and leave out and report those that cannot be decoded.

The artifact holds no images. It lists the domain, split and class of each file (see
pipeline.data.image_sets), and has

    report.csv   domain, file, reason: the images that were left out
    counts.csv   domain, class, expected (empty if the card does not state it), found, left_out
"""

import csv
import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import FolderCard, data_folder
from pipeline.core.errors import Remark, UserError
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.core.text import csv_cell
from pipeline.data.image_sets import save_files
from pipeline.data.image_validation import faults, quiet_decoding
from pipeline.data.open_image import dataset_path
from pipeline.data.sources.inventory import (
    IMAGES,
    absent_classes,
    differences,
    read_import_record,
    read_inventory,
)

MAX_REPORTED = 5
"""Number of differences from the card that a warning names; counts.csv lists all."""


def prepare_files(card: FolderCard, workspace: Path, progress: Progress) -> None:
    """Write the domains of `card` into `workspace` from the imported images; keep domains already written.

    Counts that differ from the card's cause a warning, not an error.

    Raises:
        UserError: The dataset is not imported, changed since the suite was planned, or a domain has no usable
            image.
    """
    table = read_inventory(card)
    record = read_import_record(card)
    if record is None or record.content != card.content:
        raise UserError(f"{card.name} was imported again in the meantime; run the suite again")
    done = 0
    domains = [domain for domain in card.domains if domain in set(table["domain"])]  # imported in part
    for domain in domains:
        rows = table[table["domain"] == domain]
        if not (workspace / f"{domain}.json").exists():
            reasons = _decode(card, domain, rows["name"], progress, done, len(table))
            _write_domain(card, domain, rows, reasons, workspace)
        done += len(rows)
        progress(done, len(table), f"{card.name} {domain}")
    left_out = pd.concat([_read_left_out(workspace, domain) for domain in domains], ignore_index=True)
    write_atomic(workspace / "report.csv", left_out.map(csv_cell).to_csv(index=False))
    write_atomic(workspace / "counts.csv", _counts(card, table, left_out))
    _warn(card, table, left_out)


def _decode(
    card: FolderCard, domain: str, names: Iterable[str], progress: Progress, done: int, total: int
) -> list[str | None]:
    """Decode the named images of a domain.

    Args:
        card: The resolved card.
        domain: The domain's short form.
        names: The images, as paths below the dataset's folder of that domain.
        progress: Called after each image.
        done: Number of images of the dataset before this domain.
        total: Number of images of the dataset.

    Returns:
        For each image why it cannot be used, or None if it can.
    """
    folder = data_folder(card.name) / IMAGES / domain
    reasons: list[str | None] = []
    with quiet_decoding():
        for reason in faults(dataset_path(f"{folder}/{name}", card.orientation) for name in names):
            reasons.append(reason)
            progress(done + len(reasons), total, f"{card.name} {domain}")
    return reasons


def _write_domain(
    card: FolderCard, domain: str, rows: pd.DataFrame, reasons: list[str | None], workspace: Path
) -> None:
    """Write the list of unusable images, then the usable ones as the domain.

    Args:
        card: The resolved card.
        domain: The domain's short form.
        rows: The domain's N rows of the inventory.
        reasons: For each row why the image cannot be used, or None if it can.
        workspace: The artifact's folder.
    """
    usable = np.array([reason is None for reason in reasons], dtype=bool)
    if not usable.any():
        raise UserError(
            f"domain {domain} of {card.name}: none of its {len(rows)} images can be used, for example "
            f"{rows['name'].iloc[0]}, which {reasons[0]}"
        )
    unusable = [(domain, name, reason) for name, reason in zip(rows["name"], reasons, strict=True) if reason]
    write_atomic(_left_out_file(workspace, domain), _csv(("domain", "file", "reason"), unusable))
    kept = rows[usable]
    listed = {
        "labels": kept["label"].to_numpy(np.int64),
        "split": kept["split"].to_numpy(np.uint8),
        "names": np.array(kept["name"].tolist()),
    }
    save_files(workspace, domain, card, listed)


def _left_out_file(workspace: Path, domain: str) -> Path:
    return workspace / "scratch" / f"{domain}.left_out.csv"


def _read_left_out(workspace: Path, domain: str) -> pd.DataFrame:
    """Read which images of a domain were left out, and why."""
    return pd.read_csv(_left_out_file(workspace, domain), dtype=str, keep_default_na=False)


def _csv(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write `rows` as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return file.getvalue()


def _counts(card: FolderCard, table: pd.DataFrame, left_out: pd.DataFrame) -> str:
    """Write counts.csv: how many images each class of each domain should have, has, and lost."""
    found = table.groupby(["domain", "label"]).size()
    classes = left_out["file"].str.partition("/")[0] if len(left_out) else left_out["file"]
    dropped = left_out.groupby([left_out["domain"], classes]).size()
    rows = []
    for short, domain in card.domains.items():
        for label, name in enumerate(card.classes):
            expected = "" if domain.per_class is None else domain.per_class[label]
            rows.append(
                (
                    *map(csv_cell, (short, name)),
                    expected,
                    found.get((short, label), 0),
                    dropped.get((short, name), 0),
                )
            )
    return _csv(("domain", "class", "expected", "found", "left_out"), rows)


def _warn(card: FolderCard, table: pd.DataFrame, left_out: pd.DataFrame) -> None:
    """Warn of counts that differ from the card's, of classes without images, and of images left out."""
    found = list(map(str, differences(card, table)))
    if found:
        more = ""
        if len(found) > MAX_REPORTED:
            more = f", and {len(found) - MAX_REPORTED} more differences (counts.csv)"
        warnings.warn(
            f"{card.name}: {'; '.join(found[:MAX_REPORTED])}{more}. The run continues with these images.",
            Remark,
            stacklevel=2,
        )
    for sentence in absent_classes(card, table):
        warnings.warn(f"{card.name}: {sentence}", Remark, stacklevel=2)
    for domain, rows in left_out.groupby("domain", sort=False):
        first = rows.iloc[0]
        warnings.warn(
            f"{card.name}, domain {domain}: {len(rows):,} images are left out, for example {first['file']}, "
            f"which {first['reason']} (all: report.csv). The run continues without them.",
            Remark,
            stacklevel=2,
        )
