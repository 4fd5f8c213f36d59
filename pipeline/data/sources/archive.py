"""Unpack archives from untrusted sources: the whole archive is checked first, and a bad one writes nothing.

Refused are member names that lead out of the folder, links (no image dataset needs any), devices, encrypted
members, and archives that expand too much (decompression bombs).
"""

import bz2
import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from pipeline.core.errors import UserError

MAX_EXPANSION = 100
"""Allowed ratio of unpacked to packed bytes; archives of JPEG files hardly expand."""

ALWAYS_ALLOWED = 64 * 2**20
"""Unpacked bytes that are allowed whatever the ratio."""

MAX_HEADER = 2**20
"""Maximum size in bytes of a tar member's header, because tarfile reads whole headers into memory."""

DECOMPRESSORS: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
"""The class that opens a compressed tar, by the file's first bytes."""

ARCHIVE_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    NotImplementedError,
)
"""The errors that libraries raise when an archive is truncated or corrupt."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip, a tar or a compressed tar into `folder`.

    Raises:
        UserError: The archive is refused or damaged. If it is refused, nothing was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _named_in_errors(archive):
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                _check(archive, folder, _zip_members(archive, zipped))
                zipped.extractall(folder)
        else:
            with _open_tar(archive) as tar:
                _check(archive, folder, _tar_members(archive, tar))
            with _open_tar(archive) as tar:
                tar.extractall(folder, filter="data")


@contextmanager
def _named_in_errors(archive: Path) -> Iterator[None]:
    """Turn a library's error about a damaged archive into a UserError; let errors of the disk pass."""
    try:
        yield
    except ARCHIVE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(
            f"{archive} cannot be unpacked ({error}): it is truncated or not an archive; get it again"
        ) from error


class _BoundedReader(io.BufferedIOBase):
    """A file that refuses to read more than MAX_HEADER bytes at once."""

    def __init__(self, file: io.BufferedIOBase, archive: Path) -> None:
        self.file, self.archive = file, archive

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER:
            raise UserError(f"{self.archive} is refused: the header of a member claims {size:,} bytes")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


@contextmanager
def _open_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar, compressed or not."""
    with archive.open("rb") as raw:
        start = raw.read(8)
    decompressor = next((by for magic, by in DECOMPRESSORS.items() if start.startswith(magic)), None)
    with (
        decompressor(archive) if decompressor else archive.open("rb") as file,
        tarfile.open(fileobj=_BoundedReader(file, archive), mode="r:") as tar,
    ):
        yield tar


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, int]]:
    """Yield name and size of each member; refuse links and devices."""
    for member in tar:
        if not (member.isfile() or member.isdir()):
            kind = "a link" if member.issym() or member.islnk() else "neither a file nor a folder"
            raise UserError(
                f"{archive} is refused: its member {member.name!r} is {kind}; nothing was unpacked"
            )
        if member.size < 0:  # the next header would be looked for before this one, without end
            raise UserError(
                f"{archive} is refused: its member {member.name!r} has a negative size; nothing was unpacked"
            )
        yield member.name, member.size


def _zip_members(archive: Path, zipped: zipfile.ZipFile) -> Iterator[tuple[str, int]]:
    """Yield name and size of each member; refuse encrypted members, links and devices."""
    for member in zipped.infolist():
        problem, mode = None, stat.S_IFMT(member.external_attr >> 16)
        if mode == stat.S_IFLNK:
            problem = "a link"
        elif mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            problem = "neither a file nor a folder"
        elif member.flag_bits & 1:
            problem = "encrypted"
        if problem:
            raise UserError(
                f"{archive} is refused: its member {member.filename!r} is {problem}; nothing was unpacked"
            )
        yield member.orig_filename, member.file_size


def _check(archive: Path, folder: Path, members: Iterator[tuple[str, int]]) -> None:
    """Check that all members stay inside `folder`, expand within the limit, and fit on the disk."""
    packed = archive.stat().st_size
    limit, total = max(ALWAYS_ALLOWED, MAX_EXPANSION * packed), 0
    for name, size in members:
        paths = PurePosixPath(name.replace("\\", "/")), PureWindowsPath(name)
        if any(path.is_absolute() or path.drive or ".." in path.parts for path in paths) or "\0" in name:
            raise UserError(
                f"{archive} is refused: its member {name!r} leads out of the folder; nothing was unpacked"
            )
        total += size
        if total > limit:
            raise UserError(
                f"{archive} is refused: its {packed:,} bytes would expand to more than {limit:,}, like "
                "those of a decompression bomb; nothing was unpacked"
            )
    free = shutil.disk_usage(folder).free
    if total > free:
        raise UserError(
            f"{archive} needs {total:,} bytes in {folder}, which has {free:,} left; free some space and "
            "try again"
        )
