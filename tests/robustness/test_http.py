"""Hostile HTTP servers: a download ends in time with the right bytes, or with a sentence, and can go on."""

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from pipeline.core.errors import UserError
from pipeline.data.sources.download import RetryPolicy, download
from tests.data.sources import bad_server
from tests.data.sources.bad_server import CONTENT, SHA, Behaviour, Handler, serving
from tests.robustness.attacks import Attacks, sizes

HASTY = RetryPolicy(attempts=3, timeout=0.2, pause=0.01, seconds=1.0, unknown_size=10**6)
"""Gives up soon, so that many servers are tried."""

PATIENT = RetryPolicy(attempts=5, timeout=20.0, pause=0.1)
"""Gets a file from a server that does nothing wrong, on a machine that is busy."""

LONGEST = 10.0
"""Seconds within which a hasty download ends, which are many because the machine may be busy."""


def answer(*lines: str, body: bytes = b"") -> Behaviour:
    """Send these lines as the head of an answer, and a body."""

    def behave(handler: Handler, content: bytes) -> None:
        with suppress(OSError):
            handler.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    return behave


def lies_about_its_length(length: str) -> Behaviour:
    """State another length than that of the body."""
    return answer("HTTP/1.1 200 OK", f"Content-Length: {length}", body=CONTENT)


def lies_about_its_range(stated: str, body: bytes = CONTENT[1000:]) -> Behaviour:
    """Answer with a part of the file, whether it was asked for or not."""
    return answer(
        "HTTP/1.1 206 Partial Content", f"Content-Range: {stated}", f"Content-Length: {len(body)}", body=body
    )


def redirects(where: str) -> Behaviour:
    """Send the client elsewhere."""
    return answer("HTTP/1.1 302 Found", f"Location: {where}", "Content-Length: 0")


def resets(after: int) -> Behaviour:
    """Send some bytes and reset the connection."""

    def behave(handler: Handler, content: bytes) -> None:
        with suppress(OSError):
            handler.head(200, len(content))
            handler.wfile.write(content[:after])
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()

    return behave


def drips(handler: Handler, content: bytes) -> None:
    """Send the right bytes, too slowly."""
    with suppress(OSError):
        handler.head(200, len(content))
        for at in range(0, len(content), 100):
            handler.wfile.write(content[at : at + 100])
            if handler.site.closing.wait(0.05):
                return


def headers_without_end(handler: Handler, content: bytes) -> None:
    """Send whole headers without end."""
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not handler.site.closing.is_set():
            handler.wfile.write(b"X-More: " + b"1" * 1000 + b"\r\n")


BEHAVIOURS: list[Behaviour] = [
    bad_server.rightly,
    bad_server.stalls,
    bad_server.never_answers,
    bad_server.announces_more,
    bad_server.announces_less,
    bad_server.other_bytes,
    bad_server.the_wrong_part,
    bad_server.a_page,
    bad_server.an_endless_body,
    bad_server.a_trickle,
    bad_server.interim_answers,
    bad_server.trailers_without_end,
    bad_server.a_chunk_size_that_trickles,
    bad_server.an_extension_without_end,
    bad_server.headers_that_trickle,
    *map(bad_server.fails, (400, 403, 404, 416, 429, 500, 503)),
    *map(bad_server.breaks_off, (0, 1, 1000, 299_999)),
    *map(lies_about_its_length, ("-1", "0", "x", "", "9" * 30, "1, 2", "²", "1e3", "+300000")),
    *map(
        lies_about_its_range,
        ("bytes 1000-299999/300000", "bytes 0-5/6", "bytes */300000", "", "pages 1-2/3", "bytes -1-x/y"),
    ),
    *map(redirects, ("/data.bin", "/other", "file:///etc/passwd", "http://[", "", "//", "ftp://127.0.0.1/x")),
    *map(resets, (0, 1000, 200_000)),
    drips,
    headers_without_end,
    answer("HTTP/1.1 200 OK", "Content-Encoding: gzip", f"Content-Length: {len(CONTENT)}", body=CONTENT),
    answer("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"-5\r\nabcde\r\n0\r\n\r\n"),
    answer("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"ffffffffffffffff\r\nabc"),
    answer("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Content-Length: 5", body=b"zz\r\nabc"),
    answer("HTTP/1.1 99999 Odd"),
    answer("HTTP/1.1 204 No Content"),
    answer("HTTP/9.9"),
    answer("\0" * 1000),
    answer("HTTP/1.1 200 \x1b[2J", "ETag: \x1b[2J", "Content-Length: 3", body=b"abc"),
    answer("HTTP/1.1 500 \x1b[2J\x85", "Content-Length: 0"),
    answer("HTTP/1.1 200 OK", *(f"X-{number}: 1" for number in range(1000))),
    answer("HTTP/1.1 200 OK", f"X: {'1' * 100_000}"),
]
"""What a server may do at a request."""


def downloaded(get: Callable[[], None]) -> str | None:
    """Download a file; return the sentence that says why it cannot be had."""
    try:
        get()
    except UserError as error:
        return str(error)
    return None


@sizes(short=8, long=100)
def test_downloads_end_in_time_with_the_right_bytes_or_a_sentence(
    attacks: Attacks, tmp_path: Path, count: int
) -> None:
    def attempt(chance: Random) -> None:
        folder = tmp_path / f"{chance.random()}"
        drawn = chance.choices(BEHAVIOURS, k=chance.randint(1, 4))
        size = chance.choice([None, len(CONTENT)])
        with serving() as site:
            site.etag = chance.choice(['"v1"', None])
            site.behaviours = drawn * (50 if chance.random() < 0.5 else 1)
            url, file, start = f"{site.url}/data.bin", folder / "data.bin", time.monotonic()
            try:
                told = downloaded(lambda: download(url, file, SHA, HASTY, size=size))
                assert time.monotonic() - start < LONGEST
                if told is not None:
                    assert url in told
                    assert len(told) < 500, told
                    assert len(told.splitlines()) == 1, repr(told)
                    assert not file.exists()
                names = {path.name for path in folder.iterdir()}
                assert names <= {"data.bin", "data.bin.part", "data.bin.part.json"}
                site.behaviours = []
                download(url, file, SHA, PATIENT, size=size)
                assert file.read_bytes() == CONTENT
                assert [path.name for path in folder.iterdir()] == ["data.bin"]
            except Exception as error:
                error.add_note(f"the server does: {[each.__qualname__ for each in drawn]}")
                raise

    attacks("HTTP servers", count, attempt, seconds=60)
