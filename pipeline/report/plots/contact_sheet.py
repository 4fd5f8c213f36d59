"""Draw contact sheets: images by class, adapted images, images by t, domain flows and morphs."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.core.errors import UserError
from pipeline.data.made_images import read_manifest
from pipeline.data.open_image import open_file
from pipeline.report.plots import style
from pipeline.report.plots.letters import drawable, font_file
from pipeline.report.plots.style import FAINT, INK

MARGIN = 16
GAP = 4
"""Pixels between neighbouring images."""
BETWEEN_CLASSES = 12
ENLARGED_TO = 128
"""Images are printed at twice their size, but with at most this many pixels a side."""


@dataclass(frozen=True)
class Line:
    """One line of images.

    Attributes:
        heading: The class, on its first line only.
        note: What the line shows.
        images: The images.
    """

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
    """Draw the first images of each class of a `generate` artifact, in the order of its manifest.

    Args:
        artifact: The folder of the artifact.
        classes: Class names by label.
        title: The title.
        sources: For adapted images, the source images uint8 [H, W, 3] by name. Each is printed above its
            adapted
            image, so that one sees what changed.
        per_class: The number of images of each class.

    Returns:
        The files by suffix, `.png` and `.pdf`.
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
    most = max((len(line.images) for line in lines), default=0)
    subtitle = f"the first {most} of each class, in order; {len(manifest)} images in all"
    return _files(_sheet(lines, title, subtitle))


def draw_times(artifact: Path, classes: Sequence[str], title: str, *, most: int = 24) -> dict[str, bytes]:
    """Draw an `interpolate` artifact: a row for each t, the first image of each class, from one noise.

    Args:
        artifact: The folder of the artifact.
        classes: Class names by label.
        title: The title.
        most: The number of rows; where there are more points, rows are spread evenly over them.

    Returns:
        The files by suffix, `.png` and `.pdf`.
    """
    manifest = read_manifest(artifact)
    times = manifest["t"].unique()
    chosen = times[np.unique(np.linspace(0, len(times) - 1, min(most, len(times))).round().astype(int))]
    lines = []
    for t in chosen:
        first = manifest[manifest["t"] == t].drop_duplicates("label").sort_values("label")
        heading, scale = "t = " + ", ".join(t.split()), first["scale"].iloc[0]
        lines.append(
            Line(
                heading,
                "" if scale == "1.0" else f"scale {scale}",
                [_open(artifact / file) for file in first["file"]],
            )
        )
    subtitle = (
        f"{len(chosen)} of {len(times)} points, an image of each class from one noise; "
        f"{len(manifest)} images in all"
    )
    return _files(_sheet(lines, title, subtitle, classes))


def draw_flow(artifact: Path, sources: Mapping[str, np.ndarray], title: str) -> dict[str, bytes]:
    """Draw a `flow` artifact: a row for each source image: the image, then what was made of it at each t."""
    manifest = read_manifest(artifact)
    lines = []
    for name, rows in manifest.groupby("source", sort=False):
        made = [_open(artifact / file) for file in rows["file"]]
        lines.append(Line(rows["class"].iloc[0], "", [_source(sources, str(name), artifact), *made]))
    times = [f"t = {t}" for t in manifest["t"].unique()]
    subtitle = (
        "t = 0: the source domain; t = 1: the target; beyond 1, what leads from one to the other, exaggerated"
    )
    return _files(_sheet(lines, title, subtitle, ["source", *times]))


def draw_morphs(folders: Mapping[str, Path], title: str) -> dict[str, bytes]:
    """Draw morphs between the same two ends: a row of frames for each method."""
    lines = [
        Line(method, "", [_open(path) for path in sorted(folder.glob("frame_*.png"))])
        for method, folder in folders.items()
    ]
    return _files(_sheet(lines, title, "the first frame is at X, the last at Y"))


def _open(path: Path) -> Image.Image:
    with open_file(path) as image:
        return image.convert("RGB")


def _source(sources: Mapping[str, np.ndarray], name: str, artifact: Path) -> Image.Image:
    if name not in sources:
        raise UserError(
            f"{artifact}/manifest.csv names the source image {name!r}, which the source domain lacks"
        )
    return Image.fromarray(sources[name])


def _sheet(
    lines: Sequence[Line], title: str, subtitle: str, columns_named: Sequence[str] = ()
) -> Image.Image:
    """The lines below each other with their names to the left, the title above, and names of the columns."""
    title, subtitle, columns_named = drawable(title), drawable(subtitle), list(map(drawable, columns_named))
    lines = [replace(line, heading=drawable(line.heading), note=drawable(line.note)) for line in lines]
    large, bold, plain = _font(17, bold=True), _font(14, bold=True), _font(11)
    side = min(2 * max(image.width for line in lines for image in line.images), ENLARGED_TO)
    names = max(max(bold.getlength(line.heading), plain.getlength(line.note)) for line in lines)
    left = MARGIN + round(names) + 12
    columns = max(len(line.images) for line in lines)
    heading = MARGIN + round(max(large.getlength(title), plain.getlength(subtitle)))
    across = max(left + columns * (side + GAP) - GAP, heading)
    first = MARGIN + 50 + 18 * bool(columns_named)
    tops = _tops(lines, side, first)
    sheet = Image.new("RGB", (across + MARGIN, tops[-1] + side + MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, INK, large)
    pen.text((MARGIN, MARGIN + 24), subtitle, FAINT, plain)
    for place, name in enumerate(columns_named):
        middle = left + place * (side + GAP) + side // 2
        pen.text((middle, first - 6), name, FAINT, plain, anchor="ms")
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
    """The upper edge of every line; lines of one class stand closer together."""
    tops = [first]
    for line in lines[1:]:
        tops.append(tops[-1] + side + (BETWEEN_CLASSES if line.heading else GAP))
    return tops


def _enlarged(image: Image.Image, side: int) -> Image.Image:
    """Resize the centre square to side x side: enlarged pixels stay sharp, reduced ones are averaged."""
    method = Image.Resampling.NEAREST if side >= min(image.size) else Image.Resampling.LANCZOS
    return ImageOps.fit(image, (side, side), method)


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_file(bold)), size, layout_engine=ImageFont.Layout.BASIC)


def _files(sheet: Image.Image) -> dict[str, bytes]:
    file = io.BytesIO()
    sheet.save(file, format="PNG", optimize=True)
    return {".png": file.getvalue(), ".pdf": style.picture_pdf(sheet)}
