"""Contact sheets: made images by class, and adapted ones beneath the source images that they come from."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.data.generated import read_manifest
from pipeline.errors import UserError
from pipeline.report import figures
from pipeline.report.figures import FAINT, INK, font_file

MARGIN = 16
GAP = 4
"""Pixels between neighbouring images."""
BETWEEN_CLASSES = 12
ENLARGED_TO = 128
"""Images are shown at twice their size, but no larger than this many pixels."""


@dataclass(frozen=True)
class Line:
    """One line of images; `heading` names the class, on its first line alone, `note` what the line shows."""

    heading: str
    note: str
    images: list[Image.Image]


def draw(
    artifact: Path,
    classes: Sequence[str],
    title: str,
    *,
    sources: Mapping[str, np.ndarray] | None = None,
    per_class: int = 12,
) -> dict[str, bytes]:
    """{".png", ".pdf"} of the first `per_class` images of each class of a `generate` artifact, in its manifest's order.

    sources: for adapted images, the source images uint8 [H, W, 3] by name: each is then shown above its
    adapted one, so that one sees what was kept and what changed.
    """
    manifest = read_manifest(artifact)
    lines = []
    for label, name in enumerate(classes):
        rows = manifest[manifest["label"] == label].head(per_class)
        made = [_open(artifact / file) for file in rows["file"]]
        if sources is None or not made:
            lines.append(Line(name, "", made))
        else:
            lines.append(
                Line(name, "source", [_source(sources, source, artifact) for source in rows["source"]])
            )
            lines.append(Line("", "adapted", made))
    subtitle = f"the first {per_class} of each class, in order; {len(manifest)} images in all"
    sheet = _sheet(lines, title, subtitle)
    return {".png": _png(sheet), ".pdf": figures.picture_pdf(sheet)}


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _source(sources: Mapping[str, np.ndarray], name: str, artifact: Path) -> Image.Image:
    if name not in sources:
        raise UserError(
            f"{artifact}/manifest.csv names the source image {name!r}, which the source domain lacks"
        )
    return Image.fromarray(sources[name])


def _sheet(lines: Sequence[Line], title: str, subtitle: str) -> Image.Image:
    """The lines under each other, names of classes to their left, title above."""
    large, bold, plain = _font(17, bold=True), _font(14, bold=True), _font(11)
    side = min(2 * max(image.width for line in lines for image in line.images), ENLARGED_TO)
    names = max(max(bold.getlength(line.heading), plain.getlength(line.note)) for line in lines)
    left = MARGIN + round(names) + 12
    columns = max(len(line.images) for line in lines)
    heading = MARGIN + round(max(large.getlength(title), plain.getlength(subtitle)))
    across = max(left + columns * (side + GAP) - GAP, heading)
    tops = _tops(lines, side, first=MARGIN + 50)
    sheet = Image.new("RGB", (across + MARGIN, tops[-1] + side + MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, INK, large)
    pen.text((MARGIN, MARGIN + 24), subtitle, FAINT, plain)
    for line, top in zip(lines, tops, strict=True):
        middle = top + side // 2
        pen.text((MARGIN, middle - 9 * bool(line.note)), line.heading, INK, bold, anchor="lm")
        pen.text((MARGIN, middle + 9), line.note, FAINT, plain, anchor="lm")
        for place, image in enumerate(line.images):
            sheet.paste(_enlarged(image, side), (left + place * (side + GAP), top))
        if not line.images:
            pen.text((left, middle), "no image", FAINT, plain, anchor="lm")
    return sheet


def _tops(lines: Sequence[Line], side: int, first: int) -> list[int]:
    """The upper edge of every line: close together within a class, further apart between classes."""
    tops = [first]
    for line in lines[1:]:
        tops.append(tops[-1] + side + (BETWEEN_CLASSES if line.heading else GAP))
    return tops


def _enlarged(image: Image.Image, side: int) -> Image.Image:
    """`image` at side x side: pixels stay sharp when enlarged, and are averaged when made smaller."""
    larger = side >= image.width
    return image.resize((side, side), Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS)


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_file(bold)), size, layout_engine=ImageFont.Layout.BASIC)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()
