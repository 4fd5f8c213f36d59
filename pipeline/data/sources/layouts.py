"""Recognise the layout in which a dataset lies on disk.

    a folder for each domain    FOLDER/Art/Alarm_Clock/00001.jpg: as published, as unpacked, and DomainBed's
    the same with splits        FOLDER/art/train/alarm_clock/00001.jpg and …/val/…: Dassl's
    image lists                 FOLDER/image_list/Art.txt with lines `path label`: the lists of the
                                transfer-learning library, VisDA, DomainNet, PACS (kfold) and JiGen

Names of folders and lists match whatever their case, spaces and signs (see config.names.simplified), and
domains may lie some folders down.
"""

from pathlib import Path

from pipeline.config import FolderCard
from pipeline.core.errors import UserError
from pipeline.data.sources.domain_folders import recognise_folders
from pipeline.data.sources.image_lists import recognise_lists
from pipeline.data.sources.scan import Layout


def recognise(card: FolderCard, folder: Path) -> Layout:
    """Find the images of `card` in `folder`: by lists if every domain has one, else by folders.

    Raises:
        UserError: Neither layout matches, a list is malformed, or a folder cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    try:
        lists = recognise_lists(card, folder)
        if isinstance(lists, Layout):
            return lists
        try:
            found = recognise_folders(card, folder)
        except UserError as error:
            if not lists:
                raise
            raise UserError(f"{error}. Lists are {lists}") from error
        found.notes += [lists] if lists else []
        return found
    except OSError as error:  # for example, the folder belongs to another user
        raise UserError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
