"""Read the lines of image lists, and determine their classes.

A line is `path label`. The label is the number of a class (`3` or `3.0`) or its name; a tab, a comma or a
space separates it from the path.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipeline.config import FolderCard
from pipeline.config.documents import short_repr
from pipeline.core.errors import UserError
from pipeline.data.sources.scan import ClassNames

SEPARATORS = ("\t", ",", " ")
"""What may separate a path from its label, in the order of search: paths may contain spaces."""

NUMBER = re.compile(r"([0-9]{1,9})(?:\.0*)?", re.ASCII)
"""The number of a class, also as a program writes it that holds numbers as floats."""


class Line(NamedTuple):
    """One line of a list.

    Attributes:
        where: File and line number, for messages.
        path: The image's path.
        number: The number of its class; None if the line states the class by its name.
        label: The label of the class that the line names; None if the line states a number.
    """

    where: str
    path: PurePosixPath
    number: int | None
    label: int | None


def read_lines(path: Path, names: ClassNames) -> Iterator[Line]:
    """Yield the lines of a list; UserError if one has another form."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of images: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield _parse_line(line, f"{path}, line {number}", names)


def _parse_line(line: str, where: str, names: ClassNames) -> Line:
    """Parse a line by the first of the separators after which a number or a class stands last."""
    for separator in SEPARATORS:
        name, _, label = (part.strip(' "\t') for part in line.rstrip().rpartition(separator))
        number = NUMBER.fullmatch(label)
        known = None if number or not label else names.label(label)
        if name and (number or known is not None):
            path = PurePosixPath(name.replace("\\", "/"))
            return Line(where, path, int(number[1]) if number else None, known)
    raise UserError(f"{where}: expected a path and the number or name of a class, not {short_repr(line)}")


class LabelOfLine:
    """Determine the label of a line of one list: by the image's folder if it is named like a class.

    Lists start at 0 or 1 and number classes in orders of their own; those of the transfer-learning library
    for Office-Home start with Drill. The folders therefore decide, but within a list one number must always
    stand for one class. A line without a class folder has the class that its number has in other lines of the
    list.

    Args:
        card: The dataset's card.
        names: The classes of the card by their names.
        lines: All lines of the list.
        first: The number of the first class in the lists.

    Raises:
        UserError: A number stands for two classes.
    """

    def __init__(self, card: FolderCard, names: ClassNames, lines: list[Line], first: int) -> None:
        self.card, self.names, self.first = card, names, first
        self.label_by_number: dict[int, int] = {}
        for line in lines:
            label = names.label(line.path.parent.name)
            if line.number is None or label is None:
                continue
            earlier = self.label_by_number.setdefault(line.number, label)
            if earlier != label:
                raise UserError(
                    f"{line.where}: {line.number} stands for {card.classes[label]}, but in an earlier line "
                    f"for {card.classes[earlier]}"
                )
        self.in_order = all(number - first == label for number, label in self.label_by_number.items())

    def __call__(self, line: Line) -> int:
        """Return the label of a line; UserError if its class is unknown or contradicts the folder."""
        classes, folder = self.card.classes, self.names.label(line.path.parent.name)
        if line.number is None:
            assert line.label is not None
            if folder not in (None, line.label):
                raise UserError(
                    f"{line.where}: the line says {classes[line.label]}, but the image's folder is "
                    f"{line.path.parent.name}"
                )
            return line.label
        label = folder if folder is not None else self.label_by_number.get(line.number)
        if label is not None:
            return label
        if not 0 <= line.number - self.first < len(classes):
            raise UserError(
                f"{line.where}: {line.number} is no class: {self.card.name} has {len(classes)} classes"
            )
        if not self.in_order:
            raise UserError(
                f"{line.where}: class {line.number} is unknown: the list numbers classes in another order "
                f"than the card of {self.card.name}, and no image of this class is in a folder of its name"
            )
        return line.number - self.first
