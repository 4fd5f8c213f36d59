"""`prepare` of a data set of files: every image is decoded once, and those that cannot be are left out and named.

The artifact holds no images, but which are of which domain, split and class (see pipeline.data.domains), and

    report.csv   domain, file, reason: the images that were left out
    counts.csv   domain, class, expected (empty where the card does not say), found, left_out
"""

import csv
import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.config import FolderCard, data_folder, resolve_card
from pipeline.core.errors import Remark, UserError
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import save_files
from pipeline.data.image_validation import faults
from pipeline.data.sources.inventory import IMAGES, differences, read_inventory

SHOWN = 5
"""So many differences from the card are said; all are in counts.csv."""


def prepare_files(card: FolderCard, workspace: Path, progress: Progress) -> None:
    """Writes the domains of `card` into `workspace`, from the images in place; domains that are there are kept.

    Other counts than the card's are said, by warnings, and it goes on. UserError if a domain is left without images.
    """
    table = read_inventory(card)
    if resolve_card(card).content != card.content:
        raise UserError(f"{card.name} was imported anew meanwhile; run the suite again")
    done = 0
    for domain in card.domains:
        rows = table[table["domain"] == domain]
        bad = workspace / "scratch" / f"{domain}.left_out.csv"
        if not (workspace / f"{domain}.json").exists():
            _prepare_domain(card, domain, rows, bad, workspace, progress, done, len(table))
        done += len(rows)
        progress(done, len(table), f"{card.name} {domain}")
    left_out = pd.concat([_read_report(workspace, domain) for domain in card.domains], ignore_index=True)
    write_atomic(workspace / "report.csv", left_out.to_csv(index=False))
    write_atomic(workspace / "counts.csv", _counts(card, table, left_out))
    _say(card, table, left_out)


def _read_report(workspace: Path, domain: str) -> pd.DataFrame:
    """What was left out of a domain."""
    return pd.read_csv(workspace / "scratch" / f"{domain}.left_out.csv", dtype=str, keep_default_na=False)


def _prepare_domain(
    card: FolderCard,
    domain: str,
    rows: pd.DataFrame,
    bad: Path,
    workspace: Path,
    progress: Progress,
    done: int,
    total: int,
) -> None:
    """Decodes every image of a domain, and writes which are sound; its report, `bad`, first. done: images before it."""
    folder = data_folder(card.name) / IMAGES / domain
    reasons: list[str | None] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such images are left out
        warnings.filterwarnings(
            "ignore", category=UserWarning, module="PIL"
        )  # of odd EXIF and palettes: they are read
        for reason in faults(f"{folder}/{name}" for name in rows["name"]):
            reasons.append(reason)
            progress(done + len(reasons), total, f"{card.name} {domain}")
    sound = np.array([reason is None for reason in reasons], dtype=bool)
    if not sound.any():
        example = f", such as {rows['name'].iloc[0]}, which {reasons[0]}" if len(rows) else ""
        raise UserError(
            f"domain {domain} of {card.name}: none of its {len(rows)} images can be used{example}"
        )
    unsound = [(domain, name, reason) for name, reason in zip(rows["name"], reasons, strict=True) if reason]
    write_atomic(bad, _csv(("domain", "file", "reason"), unsound))
    kept = rows[sound]
    listed = {
        "labels": kept["label"].to_numpy(np.int64),
        "split": kept["split"].to_numpy(np.uint8),
        "names": np.array(kept["name"].tolist()),
    }
    save_files(workspace, domain, card, listed)


def _csv(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """`rows` as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return file.getvalue()


def _counts(card: FolderCard, table: pd.DataFrame, left_out: pd.DataFrame) -> str:
    """counts.csv."""
    found = table.groupby(["domain", "label"]).size()
    classes = left_out["file"].str.partition("/")[0] if len(left_out) else left_out["file"]
    dropped = left_out.groupby([left_out["domain"], classes]).size()
    rows = []
    for short, domain in card.domains.items():
        for label, name in enumerate(card.classes):
            expected = "" if domain.per_class is None else domain.per_class[label]
            rows.append((short, name, expected, found.get((short, label), 0), dropped.get((short, name), 0)))
    return _csv(("domain", "class", "expected", "found", "left_out"), rows)


def _say(card: FolderCard, table: pd.DataFrame, left_out: pd.DataFrame) -> None:
    """Warns of what is other than the card says, and of images that were left out."""
    found = list(map(str, differences(card, table)))
    if found:
        more = f", and {len(found) - SHOWN} differences more (counts.csv)" if len(found) > SHOWN else ""
        warnings.warn(
            f"{card.name}: {'; '.join(found[:SHOWN])}{more}. It goes on with these.", Remark, stacklevel=2
        )
    for domain, rows in left_out.groupby("domain", sort=False):
        first = rows.iloc[0]
        warnings.warn(
            f"{card.name}, domain {domain}: {len(rows):,} images are left out, such as {first['file']}, which "
            f"{first['reason']} (all: report.csv). It goes on without them.",
            Remark,
            stacklevel=2,
        )
