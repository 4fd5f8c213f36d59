"""A server on loopback that stalls, closes early, lies about lengths and serves other bytes."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"

Behaviour = Callable[["Handler", bytes], None]


@dataclass
class Server:
    """Files by their paths, and what to do at each request in turn (afterwards, the right thing)."""

    files: dict[str, bytes] = field(default_factory=dict)
    behaviours: list[Behaviour] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    etag: str | None = '"v1"'
    url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """Serves files and parts of files as RFC 9110 has it, unless told otherwise."""

    protocol_version = "HTTP/1.1"

    @property
    def site(self) -> Server:
        return self.server.site

    def log_message(self, *args: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Answers one request."""
        asked = self.headers.get("Range")
        self.site.asked.append((self.path, asked))
        self.close_connection = True
        content = self.site.files.get(self.path)
        if content is None:
            return self.send_error(404)
        behave = self.site.behaviours.pop(0) if self.site.behaviours else rightly
        behave(self, content)

    def head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if self.site.etag:
            self.send_header("ETag", self.site.etag)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def rightly(handler: Handler, content: bytes) -> None:
    asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
    if asked and condition == handler.site.etag:
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        if start >= len(content):
            return handler.head(416, 0)
        handler.head(
            206, len(content) - start, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}"
        )
        handler.wfile.write(content[start:])
    else:
        handler.head(200, len(content))
        handler.wfile.write(content)


def breaks_off(after: int) -> Behaviour:
    """Sends some bytes of what it announced, and closes."""

    def behave(handler: Handler, content: bytes) -> None:
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        if start:
            handler.head(
                206, len(content) - start, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}"
            )
        else:
            handler.head(200, len(content))
        handler.wfile.write(content[start : start + after])

    return behave


def stalls(handler: Handler, content: bytes) -> None:
    handler.head(200, len(content))
    handler.wfile.write(content[:100_000])
    handler.wfile.flush()
    handler.site.closing.wait(10)


def never_answers(handler: Handler, content: bytes) -> None:
    handler.site.closing.wait(10)


def announces_more(handler: Handler, content: bytes) -> None:
    handler.head(200, len(content) + 1000)
    handler.wfile.write(content)


def announces_less(handler: Handler, content: bytes) -> None:
    handler.head(200, len(content) - 1000)
    handler.wfile.write(content)


def other_bytes(handler: Handler, content: bytes) -> None:
    handler.head(200, len(content))
    handler.wfile.write(content[::-1])


def the_wrong_part(handler: Handler, content: bytes) -> None:
    handler.head(206, len(content) - 7, Content_Range=f"bytes 7-{len(content) - 1}/{len(content)}")
    handler.wfile.write(content[7:])


def fails(status: int) -> Behaviour:
    return lambda handler, content: handler.send_error(status)


def a_page(handler: Handler, content: bytes) -> None:
    handler.head(200, 6, Content_Type="text/html; charset=utf-8")
    handler.wfile.write(b"<html>")


@contextmanager
def serving() -> Iterator[Server]:
    """A server on loopback, which ends with the context."""
    site = Server({"/data.bin": CONTENT})
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.site, site.url = site, f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield site
        site.closing.set()
        http.shutdown()
        thread.join()


def an_endless_body(handler: Handler, content: bytes) -> None:
    """Sends chunks without stating a length, until the client closes the connection."""
    chunked(handler)
    with suppress(OSError):
        while not handler.site.closing.is_set():
            handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def a_trickle(handler: Handler, content: bytes) -> None:
    """Sends a byte often enough that no read times out."""
    handler.head(200, len(content))
    with suppress(OSError):
        while not handler.site.closing.wait(0.1):
            handler.wfile.write(b"x")


def interim_answers(handler: Handler, content: bytes) -> None:
    """Says without end that it will answer."""
    with suppress(OSError):
        while not handler.site.closing.wait(0.1):
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def chunked(handler: Handler) -> None:
    """Sends the head of an answer whose length is not stated."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()


def trailers_without_end(handler: Handler, content: bytes) -> None:
    """Sends all bytes, and after them trailers without end."""
    chunked(handler)
    with suppress(OSError):
        handler.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n")
        while not handler.site.closing.wait(0.1):
            handler.wfile.write(b"X-More: 1\r\n")


def a_chunk_size_that_trickles(handler: Handler, content: bytes) -> None:
    """Sends the size of the first chunk digit by digit."""
    chunked(handler)
    with suppress(OSError):
        while not handler.site.closing.wait(0.1):
            handler.wfile.write(b"0")


def an_extension_without_end(handler: Handler, content: bytes) -> None:
    """Sends some bytes, and then the extension of a chunk piece by piece."""
    chunked(handler)
    with suppress(OSError):
        handler.wfile.write(b"5\r\n" + content[:5] + b"\r\n5;x=")
        while not handler.site.closing.wait(0.1):
            handler.wfile.write(b"x")


def headers_that_trickle(handler: Handler, content: bytes) -> None:
    """Sends a header letter by letter."""
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not handler.site.closing.wait(0.1):
            handler.wfile.write(b"x")


def redirects_to_itself(handler: Handler, content: bytes) -> None:
    handler.head(302, 0, Location="/data.bin")


def redirects_to_nonsense(handler: Handler, content: bytes) -> None:
    handler.head(302, 0, Location="http://[")
