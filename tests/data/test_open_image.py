"""Only regular files of named formats are opened: none starts Ghostscript, and none is waited for."""

import os
import re
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from pipeline.core.errors import UserError
from pipeline.core.paths import PACKAGE
from pipeline.data.image_files import read_resized
from pipeline.data.image_validation import fault
from pipeline.data.open_image import open_image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def test_no_format_that_runs_a_program_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(EPS)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript was started"))
    assert "cannot identify image file" in str(fault(str(path)))
    with pytest.raises(UserError, match="cannot be read as an image"):
        open_image(path)
    with pytest.raises(UserError, match="cannot be read as an image"):
        read_resized(str(path), 8)


def test_a_pipe_among_images_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    os.mkfifo(path)
    assert "not a regular file" in str(fault(str(path)))
    with pytest.raises(UserError, match="not a regular file"):
        open_image(path)
    with pytest.raises(UserError, match="not a regular file"):
        read_resized(str(path), 8)


@pytest.mark.parametrize("form", ["jpeg", "png", "bmp", "gif", "ppm", "tiff", "webp"])
def test_every_usual_format_is_opened_whatever_the_file_is_called(tmp_path: Path, form: str) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (8, 8), "red").save(path, format=form)
    assert fault(str(path)) is None
    assert open_image(path).size == (8, 8)


def test_two_pictures_in_one_jpeg_of_a_camera_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    image = Image.new("RGB", (8, 8), "red")
    image.save(path, format="MPO", save_all=True, append_images=[image])
    assert fault(str(path)) is None


def test_one_place_opens_images() -> None:
    found = [path for path in PACKAGE.rglob("*.py") if re.search(r"\bImage\.open\(", path.read_text())]
    assert found == [PACKAGE / "data" / "open_image.py"]
