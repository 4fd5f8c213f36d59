"""A morph's folder: frames, a strip, a GIF and about.json, all or nothing."""

import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.core.store import write_atomic
from pipeline.metrics.frames import ABOUT

STRIP, GIF = "strip.png", "morph.gif"

SHOWN = 128
"""Small frames are enlarged in the strip and the GIF, by a whole factor, up to this many pixels."""

MILLISECONDS = 120
"""Of a frame of the GIF."""


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `path` if all goes well and is gone if not. UserError if `path` is taken."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} is there already; name another folder, or delete it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror}); name another folder") from error
    try:
        yield part
        part.chmod(0o755)  # mkdtemp makes folders for their owner alone
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def frame_name(place: int) -> str:
    """frame_000.png, and so on."""
    return f"frame_{place:03d}.png"


def write_morph(folder: Path, frames: np.ndarray, about: Mapping[str, object]) -> None:
    """Write `frames`, uint8 [n, H, W, 3], as they are, in a row, and as a loop there and back; and `about`."""
    images = [Image.fromarray(frame) for frame in frames]
    for place, image in enumerate(images):
        write_atomic(folder / frame_name(place), _bytes(image, "PNG"))
    write_atomic(folder / STRIP, _bytes(strip(images), "PNG"))
    loop = [_enlarged(image) for image in (*images, *images[-2:0:-1])]
    more = {"save_all": True, "append_images": loop[1:], "duration": MILLISECONDS, "loop": 0}
    write_atomic(folder / GIF, _bytes(loop[0], "GIF", **more))
    write_atomic(folder / ABOUT, json.dumps(about, indent=1) + "\n")


def strip(images: list[Image.Image], gap: int = 2) -> Image.Image:
    """Images of one size in a row, with `gap` white pixels between them."""
    shown = [_enlarged(image) for image in images]
    width, height = shown[0].size
    row = Image.new("RGB", (len(shown) * (width + gap) - gap, height), "white")
    for place, image in enumerate(shown):
        row.paste(image, (place * (width + gap), 0))
    return row


def _enlarged(image: Image.Image) -> Image.Image:
    return image.resize(
        [side * max(1, SHOWN // max(image.size)) for side in image.size], Image.Resampling.NEAREST
    )


def _bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
