"""Check that images can be decoded, before a training needs them."""

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from PIL import Image

from pipeline.data.image_files import as_rgb
from pipeline.data.open_image import open_file, turned

MAX_PIXELS = 50_000_000
"""Larger images are left out.

Decoded, such an image takes more than 150 MB, and a small file may claim any size (a decompression bomb). The
largest images of the supported datasets have about 20 million pixels.
"""

QUEUED_PER_THREAD = 64
"""Number of images that are queued at a time, per thread."""


def fault(path: str) -> str | None:
    """Return the reason why the image at `path` cannot be used, or None if it can.

    The image is decoded as trainings decode it. The reason is one line and does not contain the path, so that
    the report is the same wherever the images lie.
    """
    try:
        with open_file(path) as image:
            if image.width * image.height > MAX_PIXELS:
                return f"has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}"
            if image.mode in ("I", "F"):
                return f"has 32-bit values (mode {image.mode}), whose brightness range is unknown"
            as_rgb(turned(image, path))
    except Exception as error:  # Pillow's decoders raise errors of any type
        reason = " ".join(str(error).replace(repr(path), "").split()).rstrip(" :")
        return f"cannot be read: {reason or type(error).__name__}"
    return None


@contextlib.contextmanager
def quiet_decoding() -> Iterator[None]:
    """Ignore Pillow's warnings of oversized images, which are faults, and of odd EXIF data and palettes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        yield


def faults(paths: Iterable[str]) -> Iterator[str | None]:
    """Yield `fault` of each path in order, computed by one thread per core; few paths are held in memory."""
    threads, remaining = os.cpu_count() or 1, iter(paths)
    with ThreadPoolExecutor(threads) as pool:
        while batch := list(islice(remaining, QUEUED_PER_THREAD * threads)):
            yield from pool.map(fault, batch)
