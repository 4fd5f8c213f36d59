"""Letters that the figures' font lacks, such as Chinese ones and emoji: figures show their code points."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

NOTE = (
    "Names in figures hold letters that the font of figures lacks; figures show their code points, such as "
    "\\u732b. Tables and page show the letters themselves."
)


def font_file(bold: bool = False) -> Path:
    """Return the file of the figures' font, for pictures that are drawn without matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


@cache
def _known() -> frozenset[int]:
    """The code points of which both weights of the font have a glyph, and the line feed."""
    plain, bold = (FT2Font(str(font_file(weight))).get_charmap() for weight in (False, True))
    return frozenset(plain.keys() & bold.keys()) | {ord("\n")}


def drawable(text: str) -> str:
    r"""Return `text` with `\uXXXX` or `\UXXXXXXXX` for each letter that the figures' font lacks."""
    if all(ord(letter) in _known() for letter in text):
        return text
    return "".join(letter if ord(letter) in _known() else _code(ord(letter)) for letter in text)


def note(title: str, classes: Sequence[str], records: pd.DataFrame) -> str:
    """Return the sentence that tells of replaced letters; empty if the font has those of all names."""
    columns = [name for name in ("task", "method", "augmentation", "kind") if name in records]
    named = {str(value) for name in columns for value in records[name].unique()}
    return NOTE if any(drawable(name) != name for name in {title, *classes, *named}) else ""


def _code(point: int) -> str:
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def make_drawable(figure: Figure) -> None:
    """Replace the letters that the font lacks in every text of a figure: titles, legends and labels of ticks.

    Labels of ticks are made anew by their formatter whenever the figure is drawn.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if (shown := drawable(text.get_text())) != text.get_text():
            text.set_text(shown)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FuncFormatter):
                formatter.func = _drawn(formatter.func)
            elif isinstance(formatter, FixedFormatter):
                formatter.seq = [drawable(label) for label in formatter.seq]


def _drawn(labels: Callable[..., str]) -> Callable[..., str]:
    """A formatter's function, whose labels can be drawn."""

    def label(*place: Any) -> str:
        return drawable(labels(*place))

    return label
