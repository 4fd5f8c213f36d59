"""Names in suites and dataset cards: how they are compared, and which can be names of files and folders."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from pipeline.core.text import one_line

MAX_LENGTH = 100
"""Characters of a name that becomes part of a file name."""

MAX_BYTES = 200
"""Bytes of the same in UTF-8; file systems allow 255 for a whole file name."""


def simplified(name: str) -> str:
    """Reduce a name to its letters and digits, ignoring case: `Real World` and `real_world` become equal."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum())


def file_stem(name: str) -> str:
    """Return `name` for a file name: characters that shells and URLs treat specially become hyphens."""
    return re.sub(r"[^\w.+=-]+", "-", name)


def first_equal_pair(names: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """Find two owners of one name.

    Args:
        names: Pairs of an owner and one of its names.

    Returns:
        The first two owners that have a name in common; None if there are none.
    """
    owners: dict[str, str] = {}
    for owner, name in names:
        earlier = owners.setdefault(name, owner)
        if earlier != owner:
            return earlier, owner
    return None


def check_path_name(name: str) -> str:
    """Return `name` if a file or folder of this name stays in its folder and can be written in a list.

    Raises:
        ValueError: It is empty, long or hidden, or has separators, control characters or outer spaces.
    """
    if (
        not 0 < len(name) <= MAX_LENGTH
        or name != name.strip()
        or name.startswith(".")
        or set(name) & {"/", "\\"}
        or one_line(name) != name
        or len(name.encode()) > MAX_BYTES
    ):
        raise ValueError(
            f"this becomes the name of a file or folder: use 1 to {MAX_LENGTH} characters "
            f"({MAX_BYTES} bytes), no / and \\, no control characters or marks of direction, no dot at the "
            "start and no space at the start or end"
        )
    return name


PathName = Annotated[str, AfterValidator(check_path_name)]
"""A string that becomes the name of a file or folder."""

BESIDE_SUITES = ("store", "cache", "rates", "reference", "published")
"""The folders in results/ that hold something else than the results of one suite."""

BESIDE_DOMAINS = ("manifest",)
"""The stems of JSON files in the artifact of a prepared dataset beside those of its domains."""


def _unless_taken(taken: tuple[str, ...], what: str) -> AfterValidator:
    """Refuse the names `taken`, in which case does not count: some file systems do not tell it apart."""

    def check(name: str) -> str:
        if name.casefold() in taken:
            raise ValueError(f"{name!r} is the name of {what}; choose another")
        return name

    return AfterValidator(check)


SuiteName = Annotated[PathName, _unless_taken(BESIDE_SUITES, "a folder in results/ that is no suite's")]
"""The name of a suite and of its folder in results/."""

DomainName = Annotated[PathName, _unless_taken(BESIDE_DOMAINS, "a file beside those of the domains")]
"""The short name of a domain, which files of a prepared dataset are named by."""
