"""Write the folder of a morph: frames, a strip, a GIF and about.json, all of them or nothing."""

import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic
from pipeline.metrics.frames import ABOUT

STRIP, GIF = "strip.png", "morph.gif"

ENLARGED_SIDE = 128
"""Small frames are enlarged in the strip and the GIF, by a whole factor, to at most this many pixels."""

FRAME_DURATION = 120
"""How long the GIF shows a frame, in milliseconds."""


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Write a folder as a whole: it appears at `path` when the context ends, and not at all after an error.

    Yields:
        A temporary folder to write into.

    Raises:
        UserError: `path` exists and is not an empty folder, or cannot be written.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} exists already; name another folder, or delete it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name another folder") from error
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes folders that only their owner can read
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def frame_name(index: int) -> str:
    """Return the file name of a frame, such as frame_000.png."""
    return f"frame_{index:03d}.png"


def write_morph(folder: Path, frames: np.ndarray, about: Mapping[str, object]) -> None:
    """Write the files of a morph.

    Args:
        folder: Where they are written.
        frames: uint8 [n, H, W, 3]. They are written one by one, as a strip, and as a GIF that runs there and
            back.
        about: The content of about.json.
    """
    images = [Image.fromarray(frame) for frame in frames]
    for index, image in enumerate(images):
        write_atomic(folder / frame_name(index), _encode(image, "PNG"))
    write_atomic(folder / STRIP, _encode(strip(images), "PNG"))
    loop = [_enlarge(image) for image in (*images, *images[-2:0:-1])]
    write_atomic(
        folder / GIF,
        _encode(loop[0], "GIF", save_all=True, append_images=loop[1:], duration=FRAME_DURATION, loop=0),
    )
    write_atomic(folder / ABOUT, json.dumps(about, indent=1) + "\n")


def strip(images: Sequence[Image.Image], gap: int = 2) -> Image.Image:
    """Put images of one size in a row, with `gap` white pixels between them."""
    enlarged = [_enlarge(image) for image in images]
    width, height = enlarged[0].size
    row = Image.new("RGB", (len(enlarged) * (width + gap) - gap, height), "white")
    for index, image in enumerate(enlarged):
        row.paste(image, (index * (width + gap), 0))
    return row


def _enlarge(image: Image.Image) -> Image.Image:
    factor = max(1, ENLARGED_SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
