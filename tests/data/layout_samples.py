"""Write tiny images in the layouts in which the real datasets lie on disk."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.config import FolderCard, read_card


@cache
def picture(kind: str, number: int) -> bytes:
    """A picture of 12 x 8 pixels, of its own for each number: PNG for `png`, else JPEG."""
    seed = int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:4])
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG" if kind == "png" else "JPEG")
    return file.getvalue()


def write_pictures(folder: Path, names: Sequence[str], start: int = 0) -> list[Path]:
    """Pictures called `names` in `folder`; one of `start` is another than one of 0."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in names]
    for number, path in enumerate(paths):
        path.write_bytes(picture(path.suffix[1:], (start + number) % 97))
    return paths


def write_folders(
    root: Path, card: FolderCard, domains: Mapping[str, str], per_class: int = 2, inside: str = ""
) -> Path:
    """A folder for each domain (`domains`: its name, by the short form), in it one for each class."""
    for at, folder in enumerate(domains.values()):
        for label, name in enumerate(card.classes):
            files = [f"{number:05d}.jpg" for number in range(1, per_class + 1)]
            write_pictures(root / folder / inside / name, files, 7 * at + label)
    return root


OFFICE_HOME = {"Ar": "Art", "Cl": "Clipart", "Pr": "Product", "Rw": "Real World"}
PACS = {"P": "photo", "A": "art_painting", "C": "cartoon", "S": "sketch"}
VISDA = {"S": "train", "R": "validation"}


def office_home(root: Path, per_class: int = 2) -> Path:
    """Office-Home as it is published: 65 classes, four domains."""
    return write_folders(root, read_card("office_home"), OFFICE_HOME, per_class)
