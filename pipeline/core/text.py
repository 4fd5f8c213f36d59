"""Text from files of others, made safe to print, and to open in a spreadsheet."""

import re
from typing import Any

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters without tab and line feed, marks that turn the direction of writing, and surrogates."""

_BREAKS = re.compile("[\t\n\r\x0b\x0c\x85\u2028\u2029]+")


def printable(text: str) -> str:
    r"""Return `text` with `\x1b` and the like for characters that would control a terminal; lines stay."""
    return _UNSAFE.sub(_escaped, text)


def one_line(text: str) -> str:
    """Return `text` as one line: line ends and tabs become a space, other control characters are escaped."""
    return printable(_BREAKS.sub(" ", text).rstrip())


_FORMULA = re.compile(r"[=+@\t\r]|-(?!>\w+( error)?$)")
"""The beginning of a cell that a spreadsheet would compute. The columns `->MN` and `->MN error` are text."""


def csv_cell(value: Any) -> Any:
    """Return a value for a cell: a text that a spreadsheet would compute has an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _escaped(found: re.Match[str]) -> str:
    point = ord(found[0])
    return f"\\x{point:02x}" if point <= 0xFF else f"\\u{point:04x}"
