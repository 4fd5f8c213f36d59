"""Text from files of others, made safe to print."""

import re

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters without tab and line feed, marks that turn the direction of writing, and surrogates."""

_BREAKS = re.compile("[\t\n\r\x0b\x0c\x85\u2028\u2029]+")


def printable(text: str) -> str:
    r"""Return `text` with `\x1b` and the like for characters that would control a terminal; lines stay."""
    return _UNSAFE.sub(_escaped, text)


def one_line(text: str) -> str:
    """Return `text` as one line: line ends and tabs become a space, other control characters are escaped."""
    return printable(_BREAKS.sub(" ", text).rstrip())


def _escaped(found: re.Match[str]) -> str:
    point = ord(found[0])
    return f"\\x{point:02x}" if point <= 0xFF else f"\\u{point:04x}"
