"""Open image files: regular files of named formats alone.

`open_image` reads pictures that a user names on the command line the way they are displayed. A phone stores a
photo as its sensor saw it and states in the EXIF data how to turn it. Datasets are read without that turn, as
published results are, unless their card has `orientation: upright`; the pictures of `morph`, `analogy` and
`metrics` are turned.
"""

from pathlib import Path

from PIL import Image, ImageOps

from pipeline.config import Orientation
from pipeline.core.errors import UserError
from pipeline.core.store import check_regular

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""The formats that are read, whatever a file is called.

Pillow knows others: EPS among them runs Ghostscript on what the file says.
"""


class UprightPath(str):
    """The path of an image file of a dataset that is to be turned as its EXIF data say."""

    __slots__ = ()


def dataset_path(path: str, orientation: Orientation) -> str:
    """Return the path of an image file of a dataset whose card states `orientation`."""
    return UprightPath(path) if orientation == "upright" else path


def turned(image: Image.Image, path: str) -> Image.Image:
    """Return the image at `path` as the dataset's card wants it: upright if it is an `UprightPath`."""
    return ImageOps.exif_transpose(image) if isinstance(path, UprightPath) else image


def open_file(path: Path | str) -> Image.Image:
    """Open the image at `path` as Pillow does, without decoding it.

    Raises:
        OSError: It is no regular file, or an image of none of `FORMATS`.
    """
    check_regular(path)
    return Image.open(path, formats=FORMATS)


def open_image(path: Path, *, upright: bool = True) -> Image.Image:
    """Read the image at `path`; its mode stays as it is.

    Args:
        path: The file.
        upright: Whether to apply the EXIF orientation.

    Raises:
        UserError: The file is not a complete image.
    """
    try:
        with open_file(path) as image:
            image.load()
            return ImageOps.exif_transpose(image) if upright else image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image ({error})") from error
