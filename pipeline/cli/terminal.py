"""What commands print: the answer on standard output, everything else on standard error.

Texts of cards, suites, archives and servers may hold characters that control a terminal; these functions
print them escaped. While a command runs, standard output belongs to its answer alone: what a plug-in or a
library prints goes to standard error, so that the answer stays valid JSON, or a table.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from pipeline.core.text import printable

_claimed: TextIO | None = None


@contextmanager
def claim_stdout() -> Iterator[None]:
    """Keep standard output for `say` and `say_json`; other prints go to standard error."""
    global _claimed
    # Python sets a stream to None if the file was closed before the start, as by `>&-`.
    _claimed = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _claimed = None


def stdout() -> TextIO:
    """Return the stream of the answer, which may be a terminal."""
    return _claimed or sys.stdout


def say(text: object = "", end: str = "\n") -> None:
    """Print a part of the answer, of one line or several."""
    print(printable(str(text)), end=end, file=stdout())


def say_json(value: Any) -> None:
    """Print the answer as JSON, in which no character controls a terminal."""
    say_dumped(json.dumps(value))


def say_dumped(text: str) -> None:
    """Print an answer that is JSON already."""
    print(text.replace("\x7f", "\\u007f"), file=stdout())


def remark(text: object) -> None:
    """Print a remark on standard error."""
    print(printable(str(text)), file=sys.stderr)
