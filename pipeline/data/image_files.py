"""Images in files: read as the field's loaders read them, and decoded once, into a cache.

The cache is a folder, shared by all trainings of a machine, that may be deleted at any time:

    <folder>/<size>/<2 hex digits>/<30 more>    one image: a stamp of its file, then uint8 [size, size, 3]

A file for each image, so that a split, a subset or several sets together need no cache of their own, an image is
decoded when it is first wanted, and a changed one replaces its old self alone.
"""

import contextlib
import hashlib
import mmap
import os
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipeline.core.errors import Remark, UserError
from pipeline.core.paths import ROOT
from pipeline.data.image_sets import ImageFiles, ImageSet

STAMP = struct.Struct("<qq")
"""Size and time of modification (ns) of the file that an image was decoded from."""

RECOUNT = 500
"""After so many new images a cache looks again at how full it is, as others may write into it too."""


def image_files(paths: list[Path], labels: np.ndarray | None) -> ImageFiles:
    """The images at `paths`, with labels int64 [N] or without, named by their paths."""
    names = [str(path) for path in paths]
    return ImageFiles(np.array(names, dtype=object), labels, names)


def resized(image: Image.Image, size: int) -> np.ndarray:
    """`image` with both sides `size`, filtered bilinearly, with antialiasing: uint8 [size, size, 3] of an RGB one."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def as_rgb(image: Image.Image) -> Image.Image:
    """`image` as torchvision's ImageFolder has it, for published numbers are of images so read.

    Grey and CMYK are converted, an alpha channel is dropped, of an animation the first picture is taken, and the
    orientation that EXIF states is not applied. Grey of 16 bits, which they would make white, keeps its upper 8.
    """
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def read_resized(path: str, size: int) -> np.ndarray:
    """The image at `path` as RGB, both sides resized to `size`: uint8 [size, size, 3].

    As torchvision's ImageFolder and Resize((size, size)) have it, byte for byte, but for grey of 16 bits (see
    `as_rgb`). UserError if the file is no whole image.
    """
    with _opened(path) as image:
        return resized(as_rgb(image), size)


def read_square(path: str, size: int) -> np.ndarray:
    """The middle square of the image at `path`, resized to `size`: uint8 [size, size, 3], as diffusion models are fed.

    Unlike `read_resized` it keeps shapes. UserError if the file is no whole image.
    """
    with _opened(path) as image:
        return np.asarray(ImageOps.fit(as_rgb(image), (size, size), Image.Resampling.LANCZOS))


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """The image at `path`; what goes wrong with it in the meantime becomes a UserError that names it."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} cannot be read as an image ({error}); mend it or take it out of the data set, or, if it is a "
            "generated one, delete the artifact that it is in, which is then made again"
        ) from error


def pixels(images: np.ndarray, size: int) -> np.ndarray:
    """Some images of an ImageSet, uint8 [n, H, W, 3]: those of an array as they are, files as squares of `size`."""
    if images.dtype != object:
        return images
    return np.stack([read_square(path, size) for path in images])


class ByName(Mapping[str, np.ndarray]):
    """The images of a set by their names, uint8 [H, W, 3] each; files are read when they are wanted, at `size`."""

    def __init__(self, images: ImageSet, size: int) -> None:
        self.images, self.size = images.images, size
        self.rows = {name: row for row, name in enumerate(images.names)}

    def __getitem__(self, name: str) -> np.ndarray:
        row = self.rows[name]
        return pixels(self.images[row : row + 1], self.size)[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def cache_folder() -> Path:
    """Where decoded images are kept: $TERRABENCH_CACHE, else results/cache."""
    return Path(os.environ.get("TERRABENCH_CACHE") or ROOT / "results" / "cache")


class ImageCache:
    """`read_resized` for one size, remembered in `folder`; what it returns does not depend on what is there.

    limit: bytes that all images in `folder` may take, about (trainings at the same time count apart). When it is
    reached, that is said once, and further images are decoded whenever they are wanted. Safe to use from threads
    and from processes at once.
    """

    def __init__(self, folder: Path, size: int, limit: float) -> None:
        self.folder, self.size, self.limit = folder, size, limit
        self._lock = threading.Lock()
        self._added, self._room = 0, 0.0
        self._closed = False

    def __call__(self, path: str) -> np.ndarray:
        """The pixels of the image at `path`, uint8 [size, size, 3], not to be written to."""
        try:
            about = os.stat(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read as an image ({error.strerror})") from error
        stamp, place = STAMP.pack(about.st_size, about.st_mtime_ns), self._place(path)
        pixels = self._kept(place, stamp)
        if pixels is None:
            pixels = read_resized(path, self.size)
            if self._may_keep(place):
                self._keep(place, stamp + pixels.tobytes())
        return pixels

    def _place(self, path: str) -> str:
        """Where the image is, or will be: a plain str, as pathlib would take a tenth of the time of a crop."""
        name = hashlib.sha256(os.path.abspath(path).encode(errors="surrogateescape")).hexdigest()
        return f"{self.folder}/{self.size}/{name[:2]}/{name[2:32]}"

    def _kept(self, place: str, stamp: bytes) -> np.ndarray | None:
        """The pixels in the cache, mapped into memory; None if there are none of a file with this stamp."""
        try:
            with open(place, "rb", buffering=0) as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # ValueError: an empty file, after a crash of the machine
            return None
        if len(mapped) != STAMP.size + 3 * self.size**2 or mapped[: STAMP.size] != stamp:
            return None
        return np.frombuffer(mapped, np.uint8, offset=STAMP.size).reshape(self.size, self.size, 3)

    def _may_keep(self, place: str) -> bool:
        """Whether there is room for one more image, or it takes the place of its old self."""
        with self._lock:
            if self._closed:
                return False
            if os.path.exists(place):
                return True
            if self._added % RECOUNT == 0:
                self._room = self.limit - _bytes_in(self.folder)
            self._added += 1
            self._room -= STAMP.size + 3 * self.size**2
        if self._room < 0:
            self._close(f"is full ({self.limit / 2**30:g} GiB): raise train.cache_gib, or delete the folder")
        return self._room >= 0

    def _keep(self, place: str, content: bytes) -> None:
        """Write `content` beside `place` and rename it there. Not flushed: a lost image is decoded again."""
        beside = Path(f"{place}.{os.getpid()}.{threading.get_ident()}")
        try:
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
            os.replace(beside, place)
        except OSError as error:
            with contextlib.suppress(OSError):  # the folder itself may be what is wrong
                beside.unlink()
            self._close(f"cannot be written ({error.strerror}): set $TERRABENCH_CACHE to another folder")

    def _close(self, why: str) -> None:
        """Keep nothing more, and say so the first time."""
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            warnings.warn(
                f"the image cache {self.folder} {why}; images that are not in it are decoded every time, "
                "which changes the time that training takes but not its result",
                Remark,
                stacklevel=2,
            )


def _bytes_in(folder: Path) -> int:
    """What the images in a cache's folder take."""
    sizes = [part for part in folder.glob("*") if part.name.isdecimal()]
    return sum((STAMP.size + 3 * int(part.name) ** 2) * sum(1 for _ in part.glob("*/*")) for part in sizes)
