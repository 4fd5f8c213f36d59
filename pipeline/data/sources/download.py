"""Download one file: resume it, verify its length and checksum, and give up after some attempts.

A file appears under its name only when it is complete and verified. Until then it is NAME.part, and
NAME.part.json records which version of the file on the server NAME.part belongs to.
"""

import hashlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic
from pipeline.data.sources.budget import Budget, BudgetSpentError, RetryPolicy

CHUNK = 2**18
"""Maximum number of bytes that are read at once."""

ENOUGH = 2**20
"""Bytes in one attempt that reset the count of failures: a large file may take many attempts."""

PERMANENT_ERRORS = {400, 401, 403, 404, 405, 410, 451}
"""HTTP statuses that do not change on a further attempt."""

REDIRECTS = 10
"""Maximum number of redirects in one attempt."""

ANSWER_TIMEOUTS = 4
"""The headers of an answer must be complete after this multiple of RetryPolicy.timeout, and so must the next
bytes of the file: a server that sends a little of something else before each read times out is given up."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far, and the bytes in total or None if that is unknown."""


DEFAULT_RETRIES = RetryPolicy()


class _AttemptFailed(Exception):
    """One attempt failed; the message says why."""


class _WrongChecksum(_AttemptFailed):
    """All bytes arrived, but their number or their checksum is wrong."""


def download(
    url: str,
    to: Path,
    checksum: str | None = None,
    retries: RetryPolicy = DEFAULT_RETRIES,
    progress: Progress = lambda received, total: None,
    size: int | None = None,
) -> None:
    """Download the file at `url` to `to`; if `to` exists already, only verify its checksum.

    Args:
        url: Address of the file.
        to: Where the file goes.
        checksum: `md5:…`, `sha256:…` or `sha512:…` with at least the first 32 hex digits, or None.
        retries: When to repeat a failed attempt, and when to give up.
        progress: Called after each chunk.
        size: The bytes of the file by its card; None if the card does not state them.

    Raises:
        UserError: The file cannot be had. The bytes received so far are kept, and the next call resumes.
    """
    if to.exists():
        check_file(to, checksum)
        return
    part, budget, failures = _PartialFile(to), Budget(retries, size), 0
    part.path.parent.mkdir(parents=True, exist_ok=True)
    most = part.size  # bytes that were received twice are no progress
    while True:
        try:
            budget.start_attempt()
            _attempt(url, part, budget, progress)
            _verify_size(part.path, size)
            _verify(part.path, checksum)
            part.complete(to)
            return
        except BudgetSpentError as error:
            part.discard_unless_resumable(url, budget.size)
            raise UserError(f"{url}: given up, because {error}") from error
        except (requests.RequestException, HTTPError, _AttemptFailed) as error:
            advanced = part.size - most >= ENOUGH
            most = max(most, part.size)
            if isinstance(error, _WrongChecksum):
                part.discard()
                advanced = False
            failures = 1 if advanced else failures + 1
            if failures >= retries.attempts:
                kept = ""
                if part.size:
                    kept = f"; {part.size:,} bytes are kept, and the same command resumes from there"
                raise UserError(f"{url}: {_describe(error)} ({failures} attempts){kept}") from error
        time.sleep(min(retries.pause * 2 ** (failures - 1), retries.seconds))


def check_file(path: Path, checksum: str | None) -> None:
    """Raise a UserError if the checksum of `path` differs from `checksum`."""
    try:
        _verify(path, checksum)
    except _WrongChecksum as error:
        raise UserError(f"{path}: {error}; delete it and get it again") from error


def _describe(error: Exception) -> str:
    """Describe an error without the internals of libraries."""
    if isinstance(error, requests.Timeout | ReadTimeoutError):
        return "the connection or a read timed out"
    if isinstance(error, requests.ConnectionError | HTTPError):
        return "the connection failed or was closed early"
    return str(error)


class _PartialFile:
    """The bytes of a file received so far, and the version of the file on the server that they belong to."""

    def __init__(self, to: Path) -> None:
        self.path = to.with_name(f"{to.name}.part")
        self.metadata = to.with_name(f"{to.name}.part.json")

    @property
    def size(self) -> int:
        """Number of bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self, url: str) -> str | None:
        """Return the server's name of the version that was received in part; None if it cannot be resumed."""
        with suppress(OSError, ValueError):
            metadata: dict[str, Any] = json.loads(self.metadata.read_text())
            if metadata.get("url") == url and self.size:
                return metadata.get("version")
        return None

    def start(self, url: str, version: str | None) -> None:
        """Start from the first byte, with the version `version`."""
        self.path.write_bytes(b"")
        write_atomic(self.metadata, json.dumps({"url": url, "version": version}))

    def discard(self) -> None:
        """Delete what was received."""
        self.path.unlink(missing_ok=True)
        self.metadata.unlink(missing_ok=True)

    def discard_unless_resumable(self, url: str, size: int | None) -> None:
        """Delete what was received of an endless body, or of a version that can't be resumed."""
        if size is None or self.size > size or self.version(url) is None:
            self.discard()

    def complete(self, to: Path) -> None:
        """Flush the file to disk and rename it to `to`."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self.path, to)
        self.metadata.unlink(missing_ok=True)


def _attempt(url: str, part: _PartialFile, budget: Budget, progress: Progress) -> None:
    """Receive the rest of the file, or all of it if its version changed or the server serves no ranges."""
    version, headers = part.version(url), {"Accept-Encoding": "identity"}
    if version is not None:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": version}
    with _ask(url, headers, budget) as response:
        _check_response(url, response, part)
        length = response.headers.get("Content-Length")
        if response.status_code == requests.codes.partial_content:
            start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
            if start != str(part.size):
                part.discard()
                raise _AttemptFailed(f"the server sent other bytes than those from {part.size} on")
        else:
            part.start(url, response.headers.get("ETag") or response.headers.get("Last-Modified"))
        total = part.size + int(length) if length is not None and length.isdecimal() else None
        if total is not None:
            budget.learn_size(total, total - part.size, part.path.parent)
        with part.path.open("ab") as file:
            for chunk in _chunks(response, budget):
                budget.receive(len(chunk))
                file.write(chunk)
                progress(file.tell(), total)
    if total is not None and part.size != total:
        raise _AttemptFailed(f"received {part.size:,} of {total:,} bytes")


def _chunks(response: requests.Response, budget: Budget) -> Iterator[bytes]:
    """Yield the bytes of a body as they come.

    A thread ends the connection when the next bytes do not come in time. A read itself returns only with
    bytes of the file, and a server that sends parts of chunk sizes, or trailers without end, would hold it.
    """
    limit = ANSWER_TIMEOUTS * budget.policy.timeout
    stop, due, late = threading.Event(), time.monotonic() + limit, False

    def watch() -> None:
        nonlocal late
        while not stop.wait(max(0.0, due - time.monotonic())):
            if time.monotonic() >= due:
                late = True
                response.raw.shutdown()
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        while True:
            due = time.monotonic() + min(limit, budget.seconds_left())
            try:
                # iter_content would withhold the bytes of an incomplete chunk when the connection fails.
                chunk = response.raw.read1(CHUNK, decode_content=False)
            except (HTTPError, OSError):
                if not late:
                    raise
            if late:
                raise _AttemptFailed("the next bytes of the file did not come in time")
            if not chunk:
                return
            yield chunk
    finally:
        stop.set()


def _ask(url: str, headers: dict[str, str], budget: Budget) -> requests.Response:
    """Send the request and return the response, of which only the headers are read.

    A thread waits for the headers, because a server that sends some of them before each read times out, or
    interim responses without end, would hold this one. Bodies of redirects are not read either.
    """
    timeout = min(budget.policy.timeout, budget.seconds_left())
    answers: queue.SimpleQueue[requests.Response | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_follow(url, headers, timeout))
        except Exception as error:  # raised again below, in the thread that waits
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=min(ANSWER_TIMEOUTS * timeout, budget.seconds_left()))
    except queue.Empty:
        raise _AttemptFailed("the headers of the answer did not end in time") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _follow(url: str, headers: dict[str, str], timeout: float) -> requests.Response:
    """Return the response at the end of at most REDIRECTS redirects."""
    for _ in range(REDIRECTS + 1):
        try:
            response = requests.get(
                url, headers=headers, stream=True, timeout=(timeout, timeout), allow_redirects=False
            )
        except requests.RequestException:
            raise
        except ValueError as error:  # of urllib.parse, which requests lets pass
            raise _AttemptFailed(f"{url} redirects to an address that can't be read ({error})") from error
        target = requests.Session().get_redirect_target(response)
        if target is None:
            return response
        url = urljoin(url, target)
        response.close()
    raise _AttemptFailed(f"there are more than {REDIRECTS} redirects")


def _check_response(url: str, response: requests.Response, part: _PartialFile) -> None:
    """Raise an error unless the response is the file or the requested range of it."""
    if response.status_code in PERMANENT_ERRORS:
        raise UserError(f"{url}: the server answers {response.status_code} {response.reason}")
    if response.status_code == requests.codes.requested_range_not_satisfiable:
        part.discard()
        raise _AttemptFailed("the bytes received earlier are more than the file has")
    if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
        raise _AttemptFailed(f"the server answers {response.status_code} {response.reason}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise UserError(
            f"{url} is a web page, not the file: it may need a click or a login; open it in a browser"
        )


def _verify_size(path: Path, size: int | None) -> None:
    """Raise _WrongChecksum if `path` has other than the card's number of bytes."""
    found = path.stat().st_size
    if size not in (None, found):
        raise _WrongChecksum(f"it has {found:,} bytes, but the card states {size:,}")


def _verify(path: Path, checksum: str | None) -> None:
    """Raise _WrongChecksum if the checksum of `path` differs from `checksum`."""
    if checksum is None:
        return
    algorithm, _, expected = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if not found.startswith(expected):
        raise _WrongChecksum(f"its {algorithm} is {found[:16]}…, but the card states {expected[:16]}…")
