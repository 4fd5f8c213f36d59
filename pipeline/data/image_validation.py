"""Whether an image can be read, found out before a training needs it."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from PIL import Image

from pipeline.data.image_files import as_rgb

MOST_PIXELS = 50_000_000
"""Larger images are left out: decoded, one takes 150 MB and more, and a small file may claim any size (a
decompression bomb). The largest of these data sets have about 20 million."""

AHEAD = 64
"""So many images are in work at a time, for each thread."""


def fault(path: str) -> str | None:
    """Why the image at `path` cannot be used, None if it can: it is decoded as trainings decode it."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                return f"has {image.width} x {image.height} pixels, more than {MOST_PIXELS:,}"
            if image.mode in ("I", "F"):
                return f"has values of 32 bits (mode {image.mode}), of which no brightness is known"
            as_rgb(image)
    except Exception as error:
        told = " ".join(str(error).replace(repr(path), "").split()).rstrip(
            " :"
        )  # the same wherever the images are
        return f"cannot be read: {told or type(error).__name__}"
    return None


def faults(paths: Iterable[str]) -> Iterator[str | None]:
    """`fault` of each path, in order, by as many threads as there are cores; a few paths are held at a time."""
    threads, paths = os.cpu_count() or 1, iter(paths)
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(paths, AHEAD * threads)):
            yield from pool.map(fault, some)
