"""Save made images in the background, while the next batch is sampled."""

import io
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from pipeline.core.store import write_atomic
from pipeline.data.image_files import resized
from pipeline.diffusion.generate.images import to_png
from pipeline.planning.kinds.saved_images import SavedImages

THREADS = 4
"""Threads that encode and write. Pillow and the disk release Python's lock."""

WAITING = 256
"""Images that may wait to be written, so that a slow disk does not fill the memory."""

WEBP_EFFORT = {"method": 2, "quality": 30}
"""Lossless WebP within 5 % of the smallest size that libwebp reaches, in a quarter of the time."""


class ImageWriter:
    """Writes images to files in background threads, each beside its place and renamed into it.

    Leaving the context waits until all files are there. An error of writing is raised by the next call of
    `write`, or on leaving.

    Args:
        folder: Where the files go.
        saved: Their size and format.
    """

    def __init__(self, folder: Path, saved: SavedImages) -> None:
        self.folder, self.saved = folder, saved
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="image writer")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True)
        while error is None and self._waiting:
            self._waiting.popleft().result()

    def write(self, files: Iterable[str], images: Iterable[np.ndarray]) -> None:
        """Write `images`, uint8 [H, W, 3] each, to n `files` within the folder."""
        for file, image in zip(files, images, strict=True):
            self._waiting.append(self._threads.submit(self._write, file, image))
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > WAITING):
            self._waiting.popleft().result()

    def _write(self, file: str, image: np.ndarray) -> None:
        write_atomic(self.folder / file, encoded(image, self.saved))


def encoded(image: np.ndarray, saved: SavedImages) -> bytes:
    """Encode an image, uint8 [H, W, 3], at the size and in the format that `saved` states.

    It is resized as stage three resizes images of files (`read_resized`), so that stage three sees the same
    pixels whether an image is resized before or after it was saved.
    """
    if saved.save_size is not None and image.shape[:2] != (saved.save_size, saved.save_size):
        image = resized(Image.fromarray(image), saved.save_size)
    if saved.image_format == "png":
        return to_png(image)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, **WEBP_EFFORT)
    return buffer.getvalue()
