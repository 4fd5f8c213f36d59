"""Fingerprints of figures' inputs, stored in their PNG files: redraw a figure only if its inputs changed."""

import hashlib
import struct
import zlib
from functools import cache
from pathlib import Path

from pipeline.data.open_image import open_file

KEYWORD = "Drawn from"
_AFTER_HEADER = 8 + 25
"""Offset of the first chunk after a PNG's signature and header chunk."""


@cache
def _code() -> bytes:
    """The source text of this package."""
    return b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))


def compute(*parts: object) -> str:
    """Return a hash of `parts` and of this package's source text; a changed source redraws every figure."""
    return hashlib.sha256(_code() + repr(parts).encode()).hexdigest()


def embed(png: bytes, value: str) -> bytes:
    """Return `png` with the fingerprint `value` in a text chunk."""
    body = b"tEXt" + KEYWORD.encode() + b"\0" + value.encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_AFTER_HEADER] + chunk + png[_AFTER_HEADER:]


def is_current(path: Path, value: str) -> bool:
    """Return whether the PNG at `path` exists and holds the fingerprint `value`."""
    try:
        with open_file(path) as image:
            return image.info.get(KEYWORD) == value
    except (OSError, SyntaxError):  # absent or broken; Pillow says SyntaxError of a broken chunk
        return False
