"""Unpack archives from untrusted sources: the whole archive is checked first, and a bad one writes nothing.

Refused are member names that lead out of the folder, that a file system cannot hold, or that overwrite each
other; links (no image dataset needs any), devices, encrypted members; and archives that expand too much, in
bytes or in members (decompression bombs).
"""

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from pipeline.config.documents import short_repr
from pipeline.core.errors import UserError

MAX_EXPANSION = 100
"""Allowed ratio of unpacked to packed bytes; archives of JPEG files hardly expand."""

ALWAYS_ALLOWED = 64 * 2**20
"""Unpacked bytes that are allowed whatever the ratio."""

MAX_MEMBERS = 2_000_000
"""Maximum number of members; ImageNet has 1.3 million images."""

MEMBER_BYTES = 200
"""Packed bytes that a member must have on average; a small PNG of a digit has 300."""

ALWAYS_ALLOWED_MEMBERS = 10_000
"""Members that are allowed whatever their packed bytes."""

MAX_PART, MAX_PATH = 255, 4095
"""Maximum bytes of a file's name and of a whole path, on Linux; on macOS a path has at most 1,023."""

REMEDY = "import the folder"
"""The end of the advice for an archive whose members cannot all be written."""

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
        if isinstance(error, OSError) and error.errno not in (
            None,
            errno.EINVAL,
        ):  # EINVAL: a seek before the start
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


@dataclass(frozen=True)
class _Member:
    """A file or a folder in an archive."""

    name: str
    size: int
    is_folder: bool


def _refusal(archive: Path, member: str, problem: str) -> UserError:
    return UserError(f"{archive} is refused: its member {short_repr(member)} {problem}; nothing was unpacked")


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[_Member]:
    """Yield each member; refuse links and devices."""
    for member in tar:
        if not (member.isfile() or member.isdir()):
            kind = "a link" if member.issym() or member.islnk() else "neither a file nor a folder"
            raise _refusal(archive, member.name, f"is {kind}")
        if member.size < 0:  # the next header would be looked for before this one, without end
            raise _refusal(archive, member.name, "has a negative size")
        yield _Member(member.name, member.size, member.isdir())


def _zip_members(archive: Path, zipped: zipfile.ZipFile) -> Iterator[_Member]:
    """Yield each member; refuse encrypted members, links and devices."""
    for member in zipped.infolist():
        problem, mode = None, stat.S_IFMT(member.external_attr >> 16)
        if mode == stat.S_IFLNK:
            problem = "a link"
        elif mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            problem = "neither a file nor a folder"
        elif member.flag_bits & 1:
            problem = "encrypted"
        if problem:
            raise _refusal(archive, member.filename, f"is {problem}")
        yield _Member(member.orig_filename, member.file_size, member.filename.endswith("/"))


def _check(archive: Path, folder: Path, members: Iterator[_Member]) -> None:
    """Check that all members stay inside `folder`, can be written there, expand within limits, and fit."""
    packed = archive.stat().st_size
    limit, total = max(ALWAYS_ALLOWED, MAX_EXPANSION * packed), 0
    most = min(MAX_MEMBERS, max(ALWAYS_ALLOWED_MEMBERS, packed // MEMBER_BYTES))
    names = _Names(folder)
    for count, member in enumerate(members, 1):
        problem = names.add(member)
        if problem:
            raise _refusal(archive, member.name, problem)
        total += member.size
        if total > limit or count > most:
            reached = f"{limit:,}" if total > limit else f"{most:,} files and folders"
            raise UserError(
                f"{archive} is refused: its {packed:,} bytes would expand to more than {reached}, like "
                "those of a decompression bomb; nothing was unpacked"
            )
    free = shutil.disk_usage(folder).free
    if total > free:
        raise UserError(
            f"{archive} needs {total:,} bytes in {folder}, which has {free:,} left; free some space and "
            "try again"
        )


class _Names:
    """The names of members of an archive: each must become a file or folder of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.length = len(os.fsencode(folder.absolute()))
        self.ignores_case = _ignores_case(folder)
        self.files: set[str] = set()
        self.folders: set[str] = {"."}

    def add(self, member: _Member) -> str | None:
        """Add a member; return what is wrong with its name."""
        name = member.name
        paths = PurePosixPath(name.replace("\\", "/")), PureWindowsPath(name)
        if any(path.is_absolute() or path.drive or ".." in path.parts for path in paths) or "\0" in name:
            return "leads out of the folder"
        path = PurePosixPath(name)
        longest = max((len(part.encode(errors="replace")) for part in path.parts), default=0)
        if longest > MAX_PART or self.length + 1 + len(name.encode(errors="replace")) > MAX_PATH:
            return f"has a name that is too long; unpack it yourself into a folder, and {REMEDY}"
        if self.ignores_case:
            path = PurePosixPath(str(path).casefold())
        above = {str(parent) for parent in path.parents}
        own = {str(path)} if member.is_folder else set()
        taken = self.files & (above | own) or (not member.is_folder and str(path) in self.folders)
        if taken:
            return f"is a file and a folder at once; unpack it yourself, and {REMEDY}"
        if str(path) in self.files:
            return f"is there twice; unpack it yourself, see which one is right, and {REMEDY}"
        self.folders |= above | own
        if not member.is_folder:
            self.files.add(str(path))
        return None


def _ignores_case(folder: Path) -> bool:
    """Tell whether `folder` holds `a` and `A` as one file, as on macOS."""
    with tempfile.NamedTemporaryFile(prefix="case-", dir=folder) as file:
        return Path(file.name).with_name(Path(file.name).name.swapcase()).exists()
