"""Reads a `generate` artifact: images/000000.png, ... and manifest.csv, one row an image."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.image_files import ImageFiles, image_files
from pipeline.data.image_sets import ImageSet

MANIFEST_COLUMNS = ["file", "label", "class", "seed", "t", "prompt", "source"]
"""`t` is a number, several with a space between where t has dimensions, or empty without adapter; `source` is the name
of the source image that was adapted, and empty for an image made from noise."""


def read_manifest(artifact: Path) -> pd.DataFrame:
    """manifest.csv, one row an image: label and seed int64, others text."""
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
    """The images, labelled with the class they were made for and named by their files."""
    table = read_manifest(artifact)
    files = table["file"].tolist()
    images = [_read(artifact, file) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise _damaged(artifact, f"{file} is of another size than {files[0]}")
    return ImageSet(np.stack(images), table["label"].to_numpy(), files)


def generated_files(artifact: Path) -> ImageFiles:
    """As `load_generated`, but the images are read when they are wanted."""
    table = read_manifest(artifact)
    return image_files([artifact / file for file in table["file"]], table["label"].to_numpy())


def _read(artifact: Path, file: str) -> np.ndarray:
    """One image: uint8 [H, W, 3]."""
    try:
        with Image.open(artifact / file) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError) as error:  # Pillow says SyntaxError of a PNG whose chunks are broken
        raise _damaged(artifact, f"{file} cannot be read ({error})") from error


def _damaged(artifact: Path, what: str) -> UserError:
    return UserError(f"generated images: {what}; delete {artifact}, it will be made again")
