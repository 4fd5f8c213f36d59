"""The store: artifacts of finished jobs, workspaces of jobs under way, and locks.

    <root>/artifacts/<kind>/<key>/            the artifact of a finished job, with manifest.json
    <root>/work/<kind>/<key>/                 the workspace of a job under way; survives a crash
    <root>/work/<kind>/<key>/scratch/         files that only resuming needs; deleted when the job finishes
    <root>/work/<kind>/<key>/scratch/failed   why the last attempt failed
    <root>/locks/<kind>-<key>                 locked by the process that makes that artifact

A folder under artifacts/ is always whole: it gets there by one rename, after all its files are on the disk.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from pipeline.core.errors import UserError
from pipeline.core.json_files import read_object, read_objects

MANIFEST = "manifest.json"
"""The file of an artifact that the store writes, and no job."""


class _Manifest(TypedDict):
    """What is read of a manifest, beside what `run` looks up by itself."""

    files: dict[str, tuple[str, int, int]]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    params: NotRequired[dict[str, Any]]
    device: NotRequired[str]
    made_with: NotRequired[dict[str, str]]


_FORM = TypeAdapter(_Manifest)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to a temporary file, flush it to the disk and rename it to `path`.

    After a crash at any moment, `path` is as before or complete.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        if (
            error.errno == errno.ENOENT
        ):  # its folder was made: in this file system no file can be, as in /proc
            raise PermissionError(errno.EACCES, "no file can be made here", str(path)) from error
        error.filename, error.filename2 = str(path), None
        raise


def check_regular(path: Path | str) -> None:
    """Check that a file is neither a pipe nor a device, which would be waited for or read without end.

    Raises:
        OSError: It is one, or a folder, or it does not exist.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")


def sha256(path: Path) -> str:
    """Return the SHA-256 hash of the file at `path`, which is read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Damage:
    """Why an artifact cannot be used.

    Attributes:
        file: The file at fault.
        wrong: What is wrong with it.
    """

    file: str
    wrong: str

    def __str__(self) -> str:
        return f"{self.file} {self.wrong}"


class Store:
    """The store under one root folder, which several processes and machines may share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: str, key: str) -> Path:
        """Return the folder where the artifact is, or will be."""
        return self.root / "artifacts" / kind / key

    def workspace(self, kind: str, key: str) -> Path:
        """Return the folder in which a job writes its product, the same one after a crash."""
        folder = self.root / "work" / kind / key
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
        for part in folder.rglob(".*.part"):
            part.unlink(missing_ok=True)
        return folder

    def manifest(self, kind: str, key: str) -> dict[str, Any]:
        """Return the manifest of an artifact: `files`, `label`, `params`, `inputs`, `seconds` and more.

        Raises:
            UserError: It is damaged.
        """
        path, remedy = self.path(kind, key) / MANIFEST, self._remedy(kind, key)
        manifest = read_object(path, remedy)
        try:
            _FORM.validate_python(manifest)
        except ValidationError as error:
            field = error.errors()[0]["loc"][0]
            raise UserError(f"{path} cannot be read ({field} is missing or wrong); {remedy}") from error
        return manifest

    def records(self, kind: str, key: str, name: str, fields: Iterable[str]) -> list[dict[str, Any]]:
        """Return the records in the file `name` of an artifact.

        Raises:
            UserError: The file is damaged, or a record lacks one of `fields`.
        """
        path, remedy = self.path(kind, key) / name, self._remedy(kind, key)
        records, wanted = read_objects(path, remedy), set(fields)
        for record in records:
            if missing := sorted(wanted - record.keys()):
                raise UserError(f"{path} cannot be read ({missing[0]} is missing); {remedy}")
        return records

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn an error of the file system into a UserError that names the store."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"the store {self.root} can't be written: {error.strerror}; make room or get the permission, "
                "or name another with --store"
            ) from error

    def _remedy(self, kind: str, key: str) -> str:
        """Return what the user can do about a damaged artifact."""
        return f"delete the folder {self.path(kind, key)}, and the next run makes it again"

    def commit(self, kind: str, key: str, about: dict[str, Any]) -> Path:
        """Turn the workspace of a finished job into its artifact.

        Every file is flushed and hashed first, and the rename comes last: a crash at any moment leaves either
        a workspace in which the job resumes, or a whole artifact.

        Args:
            kind: The kind of the job.
            key: The key of the job.
            about: What the manifest has beside `files`.

        Returns:
            The folder of the artifact.
        """
        work, final = self.workspace(kind, key), self.path(kind, key)
        shutil.rmtree(work / "scratch", ignore_errors=True)
        files = {}
        for path in sorted(p for p in work.rglob("*") if p.is_file() and p.name != MANIFEST):
            stat = path.stat()
            files[path.relative_to(work).as_posix()] = [sha256(path), stat.st_size, stat.st_mtime_ns]
        write_atomic(work / MANIFEST, json.dumps(about | {"files": files}, indent=1, sort_keys=True))
        final.parent.mkdir(parents=True, exist_ok=True)
        os.rename(work, final)
        return final

    def damage(self, kind: str, key: str, *, thorough: bool = False) -> Damage | None:
        """Return what is wrong with the artifact, or None if it is whole.

        A file is hashed if its size or modification time is not that of the manifest; if `thorough`, every
        file is.
        """
        folder = self.path(kind, key)
        try:
            files = self.manifest(kind, key)["files"]
        except UserError:
            return Damage(MANIFEST, "is missing or can't be read")
        present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
        for name in sorted(present - set(files)):
            return Damage(name, "does not belong to it")
        for name, (digest, size, modified) in files.items():
            if name not in present:
                return Damage(name, "is missing")
            stat = (folder / name).stat()
            if stat.st_size != size:
                return Damage(name, f"has {stat.st_size} bytes instead of {size}")
            if (thorough or stat.st_mtime_ns != modified) and sha256(folder / name) != digest:
                return Damage(name, "was changed")
        return None

    def has(self, kind: str, key: str) -> bool:
        """Tell whether the artifact exists; `damage` tells whether it is whole."""
        return self.path(kind, key).is_dir()

    def discard(self, kind: str, key: str) -> None:
        """Move an artifact away in one step, then delete it.

        Raises:
            UserError: The store cannot be written.
        """
        doomed = self.root / "work" / f"discarded-{kind}-{key}-{os.getpid()}"
        with self._writing(), contextlib.suppress(FileNotFoundError):
            doomed.parent.mkdir(parents=True, exist_ok=True)
            os.rename(self.path(kind, key), doomed)
            shutil.rmtree(doomed)

    def note_failure(self, kind: str, key: str, reason: str | None) -> None:
        """Keep the reason why a job failed; None deletes it, when the job is tried again.

        Raises:
            UserError: The store cannot be written.
        """
        with self._writing():
            if reason is not None:
                write_atomic(self._failed(kind, key), reason)
            else:
                self._failed(kind, key).unlink(missing_ok=True)

    def failure(self, kind: str, key: str) -> str | None:
        """Return the reason why the last attempt failed, or None.

        Raises:
            UserError: The file that has the reason cannot be read.
        """
        path = self._failed(kind, key)
        if not path.exists():
            return None
        try:
            check_regular(path)
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); delete it") from error

    def _failed(self, kind: str, key: str) -> Path:
        """Return the file that has the reason why a job failed."""
        return self.root / "work" / kind / key / "scratch" / "failed"

    @contextlib.contextmanager
    def lock(self, kind: str, key: str) -> Iterator[None]:
        """Hold the lock of an artifact within the context, after waiting for another process that holds it.

        The kernel releases the lock when its holder dies, so that a killed job never blocks another.
        """
        path = self.root / "locks" / f"{kind}-{key}"
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                check_regular(path)
            file = path.open("a")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
