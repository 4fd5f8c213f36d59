"""Downloads one file: goes on where it broke off, checks length and checksum, and gives up after some tries.

A file appears under its name only when it is whole and right. Until then it is NAME.part, with NAME.part.json that
says which version of the file on the server it is part of.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic

PIECE = 2**18
"""Bytes read at once, at most."""

ENOUGH = 2**20
"""A try that brought so many bytes counts as none: a bad line may break off often before a large file is there."""

FINAL = {400, 401, 403, 404, 405, 410, 451}
"""Answers that are the same however often one asks."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there, and how many there will be if that is known."""


@dataclass(frozen=True)
class Patience:
    """How many tries in a row may fail, how long a server may be silent, and the pause after a first failure (doubled
    with each further one), both in seconds.
    """

    tries: int = 5
    silence: float = 30.0
    pause: float = 2.0


PATIENT = Patience()


class _Failed(Exception):
    """One try failed, in words."""


class _Wrong(_Failed):
    """All bytes came, and they are wrong."""


def download(
    url: str,
    to: Path,
    checksum: str | None = None,
    patience: Patience = PATIENT,
    progress: Progress = lambda have, total: None,
) -> None:
    """Makes `to` the file at `url`, unless it is there. checksum: as in a card's archive.

    UserError if it cannot be had; what came of it is kept, and the same call goes on from there.
    """
    if to.exists():
        check_file(to, checksum)
        return
    part, failures = _Part(to), 0
    part.path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        had = part.size
        try:
            _receive(url, part, patience, progress)
            _check(part.path, checksum)
            part.finish(to)
            return
        except (requests.RequestException, HTTPError, _Failed) as error:
            went_on = part.size - had >= ENOUGH
            if isinstance(error, _Wrong):
                part.drop()
            failures = 1 if went_on and not isinstance(error, _Wrong) else failures + 1
            if failures >= patience.tries:
                kept = (
                    f"; {part.size:,} bytes are kept, and the same command goes on from there"
                    if part.size
                    else ""
                )
                raise UserError(f"{url}: {_words(error)} ({failures} tries){kept}") from error
        time.sleep(patience.pause * 2 ** (failures - 1))


def check_file(path: Path, checksum: str | None) -> None:
    """UserError if `path` has another checksum."""
    try:
        _check(path, checksum)
    except _Wrong as error:
        raise UserError(f"{path}: {error}; delete it and get it again") from error


def _words(error: Exception) -> str:
    """What happened, without the insides of libraries."""
    if isinstance(error, requests.Timeout | ReadTimeoutError):
        return "the server fell silent"
    if isinstance(error, requests.ConnectionError | HTTPError):
        return "the connection broke off or could not be made"
    return str(error)


class _Part:
    """What has come of a file, and what the server calls that version of it."""

    def __init__(self, to: Path) -> None:
        self.path = to.with_name(f"{to.name}.part")
        self.about = to.with_name(f"{to.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self, url: str) -> str | None:
        """What the server called the version that is there; None if that cannot be gone on with."""
        with suppress(OSError, ValueError):
            about: dict[str, Any] = json.loads(self.about.read_text())
            if about.get("url") == url and self.size:
                return about.get("version")
        return None

    def begin(self, url: str, version: str | None) -> None:
        """Nothing has come yet."""
        self.path.write_bytes(b"")
        write_atomic(self.about, json.dumps({"url": url, "version": version}))

    def drop(self) -> None:
        """What came is of no use."""
        self.path.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def finish(self, to: Path) -> None:
        """It is whole."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self.path, to)
        self.about.unlink(missing_ok=True)


def _receive(url: str, part: _Part, patience: Patience, progress: Progress) -> None:
    """One try: the rest of the file, or all of it if the server has another version or does not give parts."""
    version, headers = part.version(url), {"Accept-Encoding": "identity"}
    if version is not None:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": version}
    with requests.get(
        url, headers=headers, stream=True, timeout=(patience.silence, patience.silence)
    ) as answer:
        _refuse(url, answer, part)
        length = answer.headers.get("Content-Length")
        if answer.status_code == requests.codes.partial_content:
            start = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
            if start != str(part.size):
                part.drop()
                raise _Failed(f"asked for bytes from {part.size}, the server gave others")
        else:
            part.begin(url, answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
        total = part.size + int(length) if length is not None and length.isdecimal() else None
        with part.path.open("ab") as file:
            # Not iter_content, which keeps what came of a piece to itself when the rest of it does not come.
            while piece := answer.raw.read1(PIECE, decode_content=False):
                file.write(piece)
                progress(file.tell(), total)
    if total is not None and part.size != total:
        raise _Failed(f"{part.size:,} bytes came, not the {total:,} that the server had announced")


def _refuse(url: str, answer: requests.Response, part: _Part) -> None:
    """Raises what an answer other than the file comes to."""
    if answer.status_code in FINAL:
        raise UserError(f"{url}: the server answers {answer.status_code} {answer.reason}")
    if answer.status_code == requests.codes.requested_range_not_satisfiable:
        part.drop()
        raise _Failed("the part that was there was longer than the file")
    if answer.status_code not in (requests.codes.ok, requests.codes.partial_content):
        raise _Failed(f"the server answers {answer.status_code} {answer.reason}")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise UserError(
            f"{url} is a web page, not the file: it may want a click or a login; open it in a browser"
        )


def _check(path: Path, checksum: str | None) -> None:
    """_Wrong if `path` has another checksum."""
    if checksum is None:
        return
    kind, _, expected = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if not found.startswith(expected):
        raise _Wrong(f"its {kind} is {found[:16]}…, not the {expected[:16]}… of the card")
