"""Pictures: the same bytes each time, of the right size, and about the right things."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.report import fingerprint
from pipeline.report.plots import confusion, contact_sheet, loss_curve, style, tsne
from tests.report.report_samples import CLASSES


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def drawn(features, **settings):
    return tsne.draw(features, CLASSES, ("MN", "MM"), "MN→MM", **settings)


def test_tsne_twice_gives_the_same_bytes(features):
    first, second = drawn(features), drawn(features)
    assert first == second
    assert set(first) == {".png", ".pdf"}
    assert first[".pdf"].startswith(b"%PDF")
    assert b"CreationDate" not in first[".pdf"]
    assert set(opened(first[".png"]).info) <= {"dpi"}, "neither date nor program"
    assert drawn(features, seed=1)[".png"] != first[".png"]


def test_points_of_the_chosen_classes_alone(features):
    points = tsne.read_points(features, [0, 3])
    assert points.features.shape == (4 * 2 * 6, 8)
    assert set(points.labels) == {0, 3}
    assert np.bincount(points.sets).tolist() == [12, 12, 12, 12]


def test_a_set_that_is_not_there_is_left_out(features):
    with np.load(features) as arrays:
        kept = {name: arrays[name] for name in arrays if name.split(".")[0] in ("source", "target")}
    np.savez(features, **kept)
    assert set(tsne.read_points(features, [0]).sets) == {0, 1}


def test_features_that_cannot_be_drawn(features):
    with pytest.raises(UserError, match="fewer than three points"):
        tsne.read_points(features, [17])
    np.savez(features, **{"source.features": np.full((5, 2), np.nan), "source.labels": np.zeros(5, int)})
    with pytest.raises(UserError, match="NaN or infinity"):
        tsne.read_points(features, [0])


SIDE, LINE = 16, 16 + contact_sheet.GAP
"""Images of 8x8 are shown at twice their size."""


def test_contact_sheet_of_generated_images(generate_artifact):
    folder, _ = generate_artifact("generated", per_class=14)
    sheet = opened(contact_sheet.draw(folder, CLASSES, "T", per_class=12)[".png"])
    few = opened(contact_sheet.draw(folder, CLASSES[:2], "T", per_class=12)[".png"])
    assert sheet.height - few.height == 3 * (SIDE + contact_sheet.BETWEEN_CLASSES)
    eleven = opened(contact_sheet.draw(folder, CLASSES, "T", per_class=13)[".png"])
    assert eleven.width - sheet.width == LINE
    left = sheet.width - contact_sheet.MARGIN - 12 * LINE + contact_sheet.GAP
    bottom = sheet.height - contact_sheet.MARGIN - SIDE
    for column in range(12):
        box = (left + column * LINE, bottom, left + column * LINE + SIDE, bottom + SIDE)
        assert sheet.crop(box).getcolors() == [(SIDE * SIDE, (160, 10 * column, 200))]
    assert sheet.getpixel((left - 1, bottom)) == (255, 255, 255)


def test_contact_sheet_of_adapted_images_shows_each_beneath_its_source(generate_artifact):
    folder, sources = generate_artifact("adapted", per_class=12)
    sheet = opened(contact_sheet.draw(folder, CLASSES, "T", sources=sources)[".png"])
    left = sheet.width - contact_sheet.MARGIN - 12 * LINE + contact_sheet.GAP
    adapted = sheet.height - contact_sheet.MARGIN - SIDE
    for column in range(12):
        x = left + column * LINE + SIDE // 2
        assert sheet.getpixel((x, adapted + 1)) == (160, 10 * column, 200)
        assert sheet.getpixel((x, adapted - contact_sheet.GAP - 1)) == (160 + column,) * 3


def test_contact_sheet_is_as_wide_as_its_title(generate_artifact):
    folder, _ = generate_artifact("generated", per_class=1)
    sheet = opened(contact_sheet.draw(folder, CLASSES, "A long title " * 8)[".png"])
    margin = np.asarray(sheet)[:, -contact_sheet.MARGIN :]
    assert (margin == 255).all(), "nothing reaches into the right margin"
    assert (np.asarray(sheet)[:50, -contact_sheet.MARGIN - 12 : -contact_sheet.MARGIN] < 255).any()


def test_contact_sheet_of_a_class_without_images(generate_artifact):
    folder, sources = generate_artifact("adapted", per_class=2, labels=range(4))
    contact_sheet.draw(folder, CLASSES, "T", sources=sources)


def test_contact_sheet_without_the_source_image(generate_artifact):
    folder, sources = generate_artifact("adapted", per_class=2)
    del sources["MN/3"]
    with pytest.raises(UserError, match="names the source image 'MN/3'"):
        contact_sheet.draw(folder, CLASSES, "T", sources=sources)


def test_a_sheets_pdf_has_every_pixel_as_it_is():
    """Its one image, taken out of the file and unpacked."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    pdf = style.picture_pdf(Image.fromarray(pixels))
    assert re.search(rb"/MediaBox \[ 0 0 36 21.6 \]", pdf)
    assert b"CreationDate" not in pdf
    image = re.search(rb"/Subtype /Image.*?stream\r?\n(.*?)endstream", pdf, re.DOTALL)[1]
    # In PDF as in PNG a byte before each row says how it was filtered.
    filtered = np.frombuffer(zlib.decompress(image), np.uint8).reshape(30, 1 + 50 * 3)
    assert np.array_equal(opened_rows(filtered), pixels.reshape(30, -1))


def opened_rows(filtered: np.ndarray) -> np.ndarray:
    """Rows of PNG's filters [h, 1 + 3 w], by Pillow's own reading of them as a PNG."""
    height, width = filtered.shape[0], filtered.shape[1] // 3
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return np.asarray(opened(b"\x89PNG\r\n\x1a\n" + body)).reshape(height, -1)


def predictions(folder, labels, **said):
    folder.mkdir()
    arrays = {"labels": labels} | {f"{rule}.predicted": numbers for rule, numbers in said.items()}
    np.savez(folder / "predictions.npz", **{name: np.array(array) for name, array in arrays.items()})
    return folder / "predictions.npz"


def test_confusions_are_shares_of_the_true_class(tmp_path):
    """Two seeds of four images: three in four of class 0 and half of class 1 are right; class 2 has none."""
    one = predictions(tmp_path / "a", [0, 0, 1, 1], last=[0, 0, 1, 2], oracle=[0, 0, 1, 1])
    two = predictions(tmp_path / "b", [0, 0, 1, 1], last=[0, 1, 1, 0], oracle=[0, 0, 1, 1])
    found = confusion.shares([one, two], "last", 3)
    assert np.array_equal(found, [[75, 25, 0], [25, 50, 25], [np.nan] * 3], equal_nan=True)
    assert np.array_equal(confusion.shares([one], "oracle", 2), [[100, 0], [0, 100]])
    shown = {"none": [one], "terra": [one, two]}
    drawn = confusion.draw(shown, "last", ["$5", "A & B_<i>", "c"], "T")
    assert drawn == confusion.draw(shown, "last", ["$5", "A & B_<i>", "c"], "T")
    assert set(drawn) == {".png", ".pdf"}


def test_loss_curve(losses):
    first = loss_curve.draw(losses, "MN→MM")
    assert first == loss_curve.draw(losses, "MN→MM")
    assert first != loss_curve.draw(losses, "MN→MM", window=10)
    assert opened(first[".png"]).size == (1280, 640)
    assert first[".pdf"].startswith(b"%PDF")


def test_a_stamp_is_found_again_and_leaves_the_picture_alone(tmp_path, losses):
    plain = loss_curve.draw(losses, "MN→MM")[".png"]
    marked = fingerprint.embed(plain, fingerprint.compute("a", 1))
    assert opened(marked).tobytes() == opened(plain).tobytes()
    (tmp_path / "p.png").write_bytes(marked)
    assert fingerprint.is_current(tmp_path / "p.png", fingerprint.compute("a", 1))
    assert not fingerprint.is_current(tmp_path / "p.png", fingerprint.compute("a", 2))
    (tmp_path / "p.png").write_bytes(marked[:20])
    assert not fingerprint.is_current(tmp_path / "p.png", fingerprint.compute("a", 1))
    assert not fingerprint.is_current(tmp_path / "none.png", fingerprint.compute("a", 1))
