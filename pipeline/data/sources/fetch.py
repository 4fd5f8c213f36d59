"""`datasets fetch`: the archives of a data set's first source that needs no human, checked, unpacked and imported."""

import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.config import Archive, FolderCard, Source, data_folder
from pipeline.core.errors import UserError
from pipeline.data.sources.archive import unpack
from pipeline.data.sources.download import PATIENT, Patience, check_file, download
from pipeline.data.sources.importer import Say, import_folder
from pipeline.data.sources.inventory import About

Shown = Callable[[str], Callable[[int, int | None], None]]
"""Gives, of a file's name, what is called as its bytes come."""


def fetch(card: FolderCard, say: Say, shown: Shown, patience: Patience = PATIENT) -> About:
    """Downloads `card`'s images and puts them in place. UserError with what to do by hand if no source gives them.

    Broken off, it goes on where it was. What was downloaded is deleted once the images are in place.
    """
    say(f"licence of {card.name}: {' '.join(card.licence.split())}")
    for source in card.sources:
        if not source.automatic:
            continue
        say(f"from {source.by}")
        try:
            folder = _fetch_from(source, data_folder(card.name), shown, patience)
        except UserError as error:
            say(f"{error}")
            continue
        about = import_folder(card, folder, say)
        shutil.rmtree(data_folder(card.name) / "downloads")
        return about
    tried = (
        "no source gave it"
        if any(source.automatic for source in card.sources)
        else "no source gives it without a click"
    )
    raise UserError(f"{card.name} could not be fetched: {tried}.\n{by_hand(card)}")


def by_hand(card: FolderCard) -> str:
    """What a human can do to get `card`'s images."""
    ways = []
    for source in card.sources:
        files = ", ".join(archive.name for archive in source.archives)
        steps = " ".join(source.steps.split()) or f"Download {files}."
        ways.append(f"  {source.by}: {source.page or source.archives[0].url}\n    {steps}")
    return (
        f"By hand, in order of preference:\n{chr(10).join(ways)}\n"
        f"then: run_benchmark.py datasets import {card.name} FOLDER_OR_ARCHIVE"
    )


def import_archive(card: FolderCard, archive: Path, say: Say) -> About:
    """Unpacks an archive that was downloaded by hand, and puts its images in place.

    If the card knows a checksum for a file of this name, it has to be that one.
    """
    for known in (each for source in card.sources for each in source.archives if each.name == archive.name):
        check_file(archive, known.checksum)
        say(
            f"{archive.name} "
            + ("has the checksum of the card" if known.checksum else "has no public checksum")
        )
    return import_folder(
        card, _unpacked(data_folder(card.name), [(Archive(file=archive.name), archive)]), say
    )


def _fetch_from(source: Source, place: Path, shown: Shown, patience: Patience) -> Path:
    """The folder with what `source` has, unpacked."""
    files = []
    for archive in source.archives:
        file = place / "downloads" / archive.name
        download(archive.url, file, archive.checksum, patience, shown(archive.name))
        files.append((archive, file))
    return _unpacked(place, files)


def _unpacked(place: Path, files: list[tuple[Archive, Path]]) -> Path:
    """The folder `unpacked` of a data set with `files` in it; of one that cannot be unpacked the download is deleted."""
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
