"""The style of all figures, and functions that turn a figure into bytes that depend on its content alone."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from pipeline.report.plots import letters

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

INK = "#262626"
FAINT = "#767676"

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.edgecolor": "#B0B0B0",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters stay letters, which journals ask for
    "savefig.dpi": 200,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in this project's style within the context, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def png(figure: Figure) -> bytes:
    """Return `figure` as PNG, without date or program name."""
    letters.make_drawable(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def pdf(figure: Figure) -> bytes:
    """Return `figure` as PDF, without date."""
    letters.make_drawable(figure)
    file = io.BytesIO()
    figure.savefig(file, format="pdf", metadata={"CreationDate": None})
    return file.getvalue()


def picture_pdf(image: Image.Image, dots: float = 100.0) -> bytes:
    """Return a PDF of one page with `image`, unchanged, at `dots` pixels per inch."""
    with house_style():
        figure = Figure(figsize=(image.width / dots, image.height / dots), dpi=dots)
        figure.figimage(np.asarray(image))
        file = io.BytesIO()
        figure.savefig(file, format="pdf", dpi=dots, metadata={"CreationDate": None})
        return file.getvalue()
