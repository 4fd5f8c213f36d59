"""Read a `generate` artifact: images/000000.png, … and manifest.csv with one row per image."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.errors import UserError
from pipeline.data.image_files import ImageFiles, image_files
from pipeline.data.image_sets import ImageSet
from pipeline.data.open_image import open_file

MANIFEST_COLUMNS = ["file", "label", "class", "seed", "t", "prompt", "source"]
"""The columns of manifest.csv.

`t` is one number, several numbers separated by spaces if t has several dimensions, or empty if the image was
made without an adapter. `source` is the name of the source image that was adapted; it is empty if the image
was denoised from random noise.
"""


def read_manifest(artifact: Path) -> pd.DataFrame:
    """Read manifest.csv.

    Returns:
        One row per image. `label` and `seed` are int64, all other columns are strings.

    Raises:
        UserError: The file cannot be read, lacks a column or lists no image.
    """
    path = artifact / "manifest.csv"
    types = dict.fromkeys(MANIFEST_COLUMNS, str) | {"label": "int64", "seed": "int64"}
    try:
        table = pd.read_csv(path, dtype=types, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise _damaged(artifact, f"manifest.csv cannot be read ({error})") from error
    missing = [column for column in MANIFEST_COLUMNS if column not in table]
    if missing:
        raise _damaged(artifact, f"manifest.csv lacks the columns {', '.join(missing)}")
    if table.empty:
        raise _damaged(artifact, "manifest.csv lists no image")
    return table


def load_generated(artifact: Path) -> ImageSet:
    """Load all images of the artifact into memory, named by their files, with the class they were made for.

    Raises:
        UserError: The manifest or an image is damaged, or the images differ in size.
    """
    table = read_manifest(artifact)
    files = table["file"].tolist()
    images = [_read_image(artifact, file) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"generated images: the size of {artifact / file} differs from that of {files[0]}; if the "
                f"suite has generate.keep_aspect, state generate.save_size, else delete {artifact}, and the "
                "next run makes it again"
            )
    return ImageSet(np.stack(images), table["label"].to_numpy(), files)


def generated_files(artifact: Path) -> ImageFiles:
    """Return the images and labels of `load_generated`, but leave each image in its file until it is used."""
    table = read_manifest(artifact)
    return image_files([artifact / file for file in table["file"]], table["label"].to_numpy())


def _read_image(artifact: Path, file: str) -> np.ndarray:
    """Read one image as uint8 [H, W, 3]."""
    try:
        with open_file(artifact / file) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError when the chunks of a PNG are broken
        raise _damaged(artifact, f"{file} cannot be read ({error})") from error


def _damaged(artifact: Path, problem: str) -> UserError:
    return UserError(f"generated images: {problem}; delete {artifact}, and the next run makes it again")
