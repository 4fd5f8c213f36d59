"""Fetch a dataset from its first source that works by itself: a package, or archives to download."""

import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.config import Archive, FolderCard, Source, data_folder
from pipeline.core.errors import UserError
from pipeline.data.sources.archive import unpack
from pipeline.data.sources.download import DEFAULT_RETRIES, Progress, RetryPolicy, check_file, download
from pipeline.data.sources.importer import Log, import_folder, import_images
from pipeline.data.sources.instructions import manual_steps
from pipeline.data.sources.inventory import ImportRecord
from pipeline.data.sources.package_table import images_of_package

ProgressFor = Callable[[str], Progress]
"""Takes the name of a file, and returns the function that shows the progress of its download."""


def fetch(
    card: FolderCard, log: Log, progress_for: ProgressFor, retries: RetryPolicy = DEFAULT_RETRIES
) -> ImportRecord:
    """Download and import the images of `card`; delete the downloads once the images are imported.

    Sources are tried in the card's order. An interrupted fetch resumes.

    Raises:
        UserError: No source works without a human; the message says what to do by hand.
    """
    log(f"licence of {card.name}: {' '.join(card.licence.split()) or 'none stated'}")
    automatic = [source for source in card.sources if source.automatic]
    for source in automatic:
        log(f"from {source.by}")
        try:
            if source.package is not None:
                return import_images(card, *images_of_package(card, source.package), log)
            folder = _fetch_from(source, data_folder(card.name), progress_for, retries)
        except UserError as error:
            log(f"{error}")
            continue
        record = import_folder(card, folder, log)
        shutil.rmtree(data_folder(card.name) / "downloads")
        return record
    reason = "every source failed" if automatic else "no source works without a browser"
    raise UserError(f"{card.name} could not be fetched: {reason}.\n{manual_steps(card)}")


def import_archive(card: FolderCard, archive: Path, log: Log) -> ImportRecord:
    """Unpack an archive that was downloaded by hand, and import its images.

    Raises:
        UserError: The card states another checksum for a file of this name, or the archive is refused.
    """
    for known in (each for source in card.sources for each in source.archives if each.name == archive.name):
        check_file(archive, known.checksum)
        log(f"{archive.name} has {'the checksum of the card' if known.checksum else 'no public checksum'}")
    folder = _unpack_all(data_folder(card.name), [(Archive(file=archive.name), archive)])
    return import_folder(card, folder, log)


def _fetch_from(source: Source, place: Path, progress_for: ProgressFor, retries: RetryPolicy) -> Path:
    """Download and unpack the archives of `source`; return the folder with their content."""
    files = []
    for archive in source.archives:
        file = place / "downloads" / archive.name
        progress = progress_for(archive.name)
        download(archive.url, file, archive.checksum, retries, progress, archive.size)
        files.append((archive, file))
    return _unpack_all(place, files)


def _unpack_all(place: Path, files: list[tuple[Archive, Path]]) -> Path:
    """Unpack `files` into the folder `unpacked` of a dataset; delete a download that cannot be unpacked."""
    fresh, folder = place / "unpacked.part", place / "unpacked"
    shutil.rmtree(fresh, ignore_errors=True)
    for archive, file in files:
        into = fresh / archive.into
        into.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".txt":
            shutil.copyfile(file, into / archive.name)
            continue
        try:
            unpack(file, into)
        except UserError:
            shutil.rmtree(fresh)
            if file.is_relative_to(place / "downloads"):
                file.unlink()
            raise
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return folder
