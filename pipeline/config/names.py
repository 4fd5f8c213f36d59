"""Names of classes and domains: how they are compared."""

import unicodedata
from collections.abc import Iterable


def simplified(name: str) -> str:
    """Reduce a name to its letters and digits, ignoring case: `Real World` and `real_world` become equal."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum())


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
