"""Says in a PNG what it was drawn from, so that a picture that would come out the same is not drawn again."""

import hashlib
import struct
import zlib
from functools import cache
from pathlib import Path

from PIL import Image

KEYWORD = "Drawn from"
_AFTER_HEADER = 8 + 25
"""Where the first chunk after a PNG's signature and its header chunk begins."""


@cache
def _code() -> bytes:
    """The text of this package."""
    return b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))


def stamp(*parts: object) -> str:
    """A hash of `parts` and of the code of this package: when that changes, every picture is drawn again."""
    return hashlib.sha256(_code() + repr(parts).encode()).hexdigest()


def stamped(png: bytes, value: str) -> bytes:
    """The PNG `png` with `value` in a text chunk."""
    body = b"tEXt" + KEYWORD.encode() + b"\0" + value.encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_AFTER_HEADER] + chunk + png[_AFTER_HEADER:]


def is_current(path: Path, value: str) -> bool:
    """Whether the PNG at `path` is there and bears `value`."""
    try:
        with Image.open(path) as image:
            return image.info.get(KEYWORD) == value
    except (OSError, SyntaxError):  # absent or broken; Pillow says SyntaxError of a broken chunk
        return False
