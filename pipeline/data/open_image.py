"""Open pictures that a user names on the command line the way they are displayed.

A phone stores a photo as its sensor saw it and states in the EXIF data how to turn it. Datasets are read
without that turn, as published results are (see `image_files.as_rgb`); the pictures of `morph`, `analogy` and
`metrics` are turned.
"""

from pathlib import Path

from PIL import Image, ImageOps

from pipeline.core.errors import UserError


def open_image(path: Path, *, upright: bool = True) -> Image.Image:
    """Read the image at `path`; its mode stays as it is.

    Args:
        path: The file.
        upright: Whether to apply the EXIF orientation.

    Raises:
        UserError: The file is not a complete image.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image) if upright else image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image ({error})") from error
