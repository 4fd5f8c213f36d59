"""The figures of a page: grouped, made small enough to send, and embedded as data URIs."""

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.open_image import open_file

WIDEST = 1280
"""Pixels: wider figures are reduced in the page; the files beside it stay as they are."""

LARGEST = 2_500_000
"""Bytes of all figures in the page. Above it they are reduced further, but not below half, so that the page
can be
sent by mail."""

QUALITY = 75
"""Quality of WebP from 0 to 100. A contact sheet takes a quarter of its PNG's bytes, and looks the same."""

OVERVIEW = {
    "accuracy_time": (
        "Accuracy against time",
        "A point is a row of the table; a line joins the rows of one method.",
    ),
    "ranks": ("Average ranks", "1 is best; a bar joins rows that the test does not tell apart."),
    "distance": (
        "A-distance",
        "How well a linear classifier tells images from the target's by the network's features: 2 always, 0 "
        "not at all.",
    ),
}
"""Figures of the whole run, which form one group: by the beginning of the file name, a name and a
description.
"""

GROUPS = {
    "tsne": (
        "t-SNE",
        "Features of the trained network, four classes. Real images are filled markers, made images hollow.",
    ),
    "morphs": ("Morphs", "Frames of the first morph of each kind: from X on the left to Y on the right."),
    "contact": ("Images", "Made images by class; adapted images are below their sources."),
    "flow": ("Domain flow", "One source image a line, rendered at every t."),
    "times": (
        "Predicted t",
        "Where each image lies between the domains, and the points at which new domains are made.",
    ),
    "classes": ("Accuracy by class", "Mean over seeds; lines are standard errors."),
    "confusion": (
        "Confusion matrices",
        "Rows are true classes, columns the predicted classes of their test images, in percent.",
    ),
    "loss": ("Losses of fine-tuning", "Each step faint, the running mean bold."),
}
"""The other groups in order: by the beginning of the file name, a heading and a description."""

OTHER = ("Other figures", "")


@dataclass(frozen=True)
class PageImage:
    """A figure in the page.

    Attributes:
        name: Its name.
        about: What it shows, if the figures of its group differ in that.
        source: Its bytes as a data URI.
        width: Pixels.
        height: Pixels.
        files: Its files beside the page, by type.
    """

    name: str
    about: str
    source: str
    width: int
    height: int
    files: dict[str, str]


@dataclass(frozen=True)
class ImageGroup:
    """Figures of one kind."""

    heading: str
    about: str
    images: list[PageImage]


def embed(figures: Sequence[Path]) -> list[ImageGroup]:
    """Return the PNG files `figures` by group, as large as `LARGEST` allows; empty groups are left out."""
    groups = _groups(figures)
    size = sum(len(image.source) for group in groups for image in group.images)
    # Bytes fall more slowly than pixels: about as the side to the power 1.5.
    return groups if size <= LARGEST else _groups(figures, max(0.5, (LARGEST / size) ** (1 / 1.5)))


def _groups(figures: Sequence[Path], scale: float = 1.0) -> list[ImageGroup]:
    """The figures by group, reduced by `scale`."""
    by_kind: dict[str, list[Path]] = {kind: [] for kind in [*OVERVIEW, *GROUPS, ""]}
    for path in figures:
        kinds = (kind for kind in by_kind if kind and f"{path.stem}_".startswith(f"{kind}_"))
        by_kind[next(kinds, "")].append(path)
    with ThreadPoolExecutor() as pool:  # Pillow releases the interpreter lock
        overview = [
            pool.submit(_embedded, path, kind, scale, *OVERVIEW[kind])
            for kind in OVERVIEW
            for path in by_kind[kind]
        ]
        others = [
            (heading, about, [pool.submit(_embedded, path, kind, scale, heading) for path in by_kind[kind]])
            for kind, (heading, about) in [*GROUPS.items(), ("", OTHER)]
        ]
    groups = [
        ImageGroup(heading, about, [image.result() for image in images])
        for heading, about, images in [("Overview", "", overview), *others]
    ]
    return [group for group in groups if group.images]


def _embedded(path: Path, kind: str, scale: float, heading: str, about: str = "") -> PageImage:
    """One figure; its files are named as seen from the page."""
    with open_file(path) as image:
        small = image.convert("RGB")
    widest = round(scale * min(WIDEST, small.width))
    small.thumbnail((widest, 4 * WIDEST))
    file = io.BytesIO()
    small.save(file, format="WEBP", quality=QUALITY, method=2)
    uri = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
    beside = sorted(path.parent.glob(f"{path.stem}.*"))
    files = {other.suffix[1:].upper(): f"{path.parent.name}/{other.name}" for other in beside}
    rest = path.stem.removeprefix(kind).strip("_").removeprefix("to-").replace("-to-", "→").replace("_", " ")
    return PageImage(f"{heading}: {rest}" if rest else heading, about, uri, *small.size, files)
