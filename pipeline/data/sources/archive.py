"""Unpacks archives that strangers made: all of one is looked at first, and if anything is wrong nothing is written.

Refused are names that lead out of the folder, links (no set of images needs any), devices, encrypted members, and
archives that grow too much, as bombs do.
"""

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from pipeline.core.errors import UserError

MOST_GROWTH = 100
"""An archive may become so many times as large; sets of JPEG files hardly grow."""

ALWAYS_ALLOWED = 64 * 2**20
"""Bytes that any archive may become."""

LARGEST_HEADER = 2**20
"""Bytes that a member's description may take; tarfile reads one at once, however long it says it is."""

COMPRESSED: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
"""What opens a compressed tar, by how it begins."""

BROKEN = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    NotImplementedError,
)
"""What libraries raise of archives that are cut off or garbled."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a zip, a tar, or a compressed tar into `folder`. UserError, with nothing written, if it is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    with _told_of(archive):
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as members:
                _check(archive, folder, _of_zip(archive, members))
                members.extractall(folder)
        else:
            with _tar(archive) as members:
                _check(archive, folder, _of_tar(archive, members))
            with _tar(archive) as members:
                members.extractall(folder, filter="data")


@contextmanager
def _told_of(archive: Path) -> Iterator[None]:
    """Turns what libraries raise of a broken archive into a UserError; a full disk stays what it is."""
    try:
        yield
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(
            f"{archive} cannot be unpacked ({error}): it is cut off or no archive; get it again"
        ) from error


class _Limited:
    """A file of which no piece larger than a header may be read at once."""

    def __init__(self, file: IO[bytes], archive: Path) -> None:
        self.file, self.archive = file, archive
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        if not 0 <= size <= LARGEST_HEADER:
            raise UserError(f"{self.archive} is refused: it describes a member in {size:,} bytes")
        return self.file.read(size)


@contextmanager
def _tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """The members of a tar, compressed or not."""
    with archive.open("rb") as file:
        start = file.read(8)
    opened = next((by for magic, by in COMPRESSED.items() if start.startswith(magic)), None)
    with (
        opened(archive) if opened else archive.open("rb") as file,
        tarfile.open(fileobj=_Limited(file, archive), mode="r:") as members,
    ):
        yield members


def _of_tar(archive: Path, members: tarfile.TarFile) -> Iterator[tuple[str, int]]:
    """The names and sizes of members that are files and folders."""
    for member in members:
        if not (member.isfile() or member.isdir()):
            what = "a link" if member.issym() or member.islnk() else "neither a file nor a folder"
            raise UserError(f"{archive} is refused: {member.name!r} in it is {what}; nothing was unpacked")
        yield member.name, member.size


def _of_zip(archive: Path, members: zipfile.ZipFile) -> Iterator[tuple[str, int]]:
    """The names and sizes of members that are files and folders."""
    for member in members.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "a link" if kind == stat.S_IFLNK else "neither a file nor a folder"
            raise UserError(
                f"{archive} is refused: {member.filename!r} in it is {what}; nothing was unpacked"
            )
        if member.flag_bits & 1:
            raise UserError(
                f"{archive} is refused: {member.filename!r} in it is encrypted; nothing was unpacked"
            )
        yield member.orig_filename, member.file_size


def _check(archive: Path, folder: Path, members: Iterator[tuple[str, int]]) -> None:
    """That all members stay inside, that they do not grow too much, and that there is room for them."""
    size = archive.stat().st_size
    limit, total = max(ALWAYS_ALLOWED, MOST_GROWTH * size), 0
    for name, bytes_of_it in members:
        paths = PurePosixPath(name.replace("\\", "/")), PureWindowsPath(name)
        if any(path.is_absolute() or path.drive or ".." in path.parts for path in paths) or "\0" in name:
            raise UserError(
                f"{archive} is refused: {name!r} in it leads out of the folder; nothing was unpacked"
            )
        total += bytes_of_it
        if total > limit:
            raise UserError(
                f"{archive} is refused: of {size:,} bytes it would become more than {limit:,}, as decompression bombs do; "
                "nothing was unpacked"
            )
    free = shutil.disk_usage(folder).free
    if total > free:
        raise UserError(
            f"{archive} needs {total:,} bytes in {folder}, which has {free:,} left; make room and try again"
        )
