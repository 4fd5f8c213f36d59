"""Read images from files as torchvision's ImageFolder does, and cache each decoded image on disk.

The cache is a folder that all trainings of a machine share. It may be deleted at any time:

    <folder>/<form>/<2 hex digits>/<30 more>    one image: height, width, the stamp of its file, pixels

The form is a size ("256", or "256.bicubic" where that is the filter) or "original".

Each image has an entry of its own. Splits, subsets and unions of sets therefore share one cache, an image is
decoded when it is first read, and a changed file invalidates only its own entry.
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

from pipeline.config import Resample
from pipeline.core.errors import Remark, UserError
from pipeline.core.paths import base_folder
from pipeline.data.image_sets import ImageFiles, ImageSet
from pipeline.data.open_image import UprightPath, open_file, turned

HEADER = struct.Struct("<iiqq")
"""Height and width of an entry, then size in bytes and modification time in ns of the file it is from."""

FILTERS: dict[Resample, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

RECOUNT_INTERVAL = 500
"""Number of new entries after which a cache measures its size again: other processes write into it too."""


def image_files(paths: list[Path], labels: np.ndarray | None) -> ImageFiles:
    """Build the set of the images at `paths`, named by their paths.

    Args:
        paths: N image files.
        labels: int64 [N], or None if the set is unlabelled.
    """
    names = [str(path) for path in paths]
    return ImageFiles(np.array(names, dtype=object), labels, names)


def resized(image: Image.Image, size: int, resample: Resample = "bilinear") -> np.ndarray:
    """Resize both sides of an RGB image to `size` with antialiasing: uint8 [size, size, 3].

    The width comes first, as in Pillow up to 12; the order of version 13 depends on the shape.
    """
    for shape in ((size, image.height), (size, size)):
        image = image.resize(shape, FILTERS[resample])
    return np.asarray(image)


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert `image` to RGB as torchvision's ImageFolder does, so that results compare with published ones.

    Grey and CMYK are converted, an alpha channel is dropped, the first frame of an animation is taken, and
    the orientation in the EXIF data is ignored (`open_image.turned` applies it first where a card asks for
    it). One case differs: 16-bit grey keeps its upper 8 bits, where torchvision would turn it white.
    """
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def read_rgb(path: str) -> Image.Image:
    """Read the whole image at `path` as RGB (see `as_rgb`).

    Raises:
        UserError: The file is not a complete image.
    """
    with _opened(path) as image:
        return as_rgb(image)


def read_resized(path: str, size: int, resample: Resample = "bilinear") -> np.ndarray:
    """Read the image at `path` and resize both sides to `size`, which may change its aspect ratio.

    The bytes equal those of torchvision's ImageFolder and Resize((size, size)), and with bicubic those of the
    transfer-learning library's ResizeImage(size), except for 16-bit grey (see `as_rgb`).

    Returns:
        uint8 [size, size, 3].

    Raises:
        UserError: The file is not a complete image.
    """
    with _opened(path) as image:
        return resized(as_rgb(image), size, resample)


def read_square(path: str, size: int) -> np.ndarray:
    """Read the centre square of the image at `path` and resize it to `size`: the input of diffusion models.

    Unlike `read_resized`, this keeps the aspect ratio of what the image shows.

    Returns:
        uint8 [size, size, 3].

    Raises:
        UserError: The file is not a complete image.
    """
    with _opened(path) as image:
        return np.asarray(ImageOps.fit(as_rgb(image), (size, size), Image.Resampling.LANCZOS))


def read_whole(path: str, longer: int) -> np.ndarray:
    """Read the whole image at `path` and resize it bilinearly; its longer side becomes `longer`.

    Returns:
        uint8 [height, width, 3].

    Raises:
        UserError: The file is not a complete image.
    """
    with _opened(path) as image:
        return fit_longer_side(as_rgb(image), longer)


def random_square(image: str | np.ndarray, size: int, place: float) -> np.ndarray:
    """Resize an image bilinearly so that its shorter side is `size`, and cut a square out of it.

    Args:
        image: The path of a file, or pixels, uint8 [H, W, 3].
        size: Side of the square in pixels.
        place: Where the square lies along the longer side, from 0 to below 1.

    Returns:
        uint8 [size, size, 3].

    Raises:
        UserError: The file is not a complete image.
    """
    if isinstance(image, np.ndarray):
        return _square_of(Image.fromarray(image), size, place)
    with _opened(image) as opened:
        return _square_of(as_rgb(opened), size, place)


def _square_of(image: Image.Image, size: int, place: float) -> np.ndarray:
    width, height = (max(size, size * side // min(image.size)) for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    top, left = (int(place * (side - size + 1)) for side in (height, width))
    return pixels[top : top + size, left : left + size]


def fit_longer_side(image: Image.Image, longer: int) -> np.ndarray:
    """Resize an RGB image bilinearly: uint8 [height, width, 3] with max(height, width) equal to `longer`."""
    width, height = (max(1, longer * side // max(image.size)) for side in image.size)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """Open the image at `path`; turn every error of opening or decoding it into a UserError that names it."""
    try:
        with open_file(path) as image:
            yield turned(image, path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} cannot be read as an image ({error}); repair it or remove it from the dataset. If it "
            "is a made image, delete its artifact, and the next run makes it again"
        ) from error


def pixels(images: np.ndarray, size: int) -> np.ndarray:
    """Return the pixels of some images of an ImageSet.

    Args:
        images: Either pixels, uint8 [n, H, W, 3], which are returned unchanged; or paths, object [n].
        size: Side in pixels of the centre squares that are read from paths.

    Returns:
        uint8 [n, H, W, 3].
    """
    if images.dtype != object:
        return images
    return np.stack([read_square(path, size) for path in images])


class ByName(Mapping[str, np.ndarray]):
    """The images of a set by name, uint8 [H, W, 3] each; a file is read, at `size`, when it is looked up."""

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
    """Return the folder of decoded images: $TERRABENCH_CACHE, else results/cache."""
    return Path(os.environ.get("TERRABENCH_CACHE") or base_folder() / "results" / "cache")


class ImageCache:
    """Decoded images in one form, cached in `folder`. The result never depends on what the cache contains.

    When the cache is full it warns once, and images without an entry are then decoded at every use. Safe to
    use from several threads and processes at once.

    Args:
        folder: The folder of the cache.
        size: Height and width that `read_resized` gives the images; None leaves them as in their files.
        limit: Approximate number of bytes that all entries in `folder` may take. Processes that run at the
            same time do not count each other's new entries until the next recount.
        resample: The filter that resizes.
    """

    def __init__(self, folder: Path, size: int | None, limit: float, resample: Resample = "bilinear") -> None:
        self.folder, self.size, self.limit, self.resample = folder, size, limit, resample
        self.form = "original" if size is None else f"{size}{'.bicubic' * (resample == 'bicubic')}"
        self._lock = threading.Lock()
        self._entries_added, self._bytes_left = 0, 0.0
        self._closed = False

    def __call__(self, path: str) -> np.ndarray:
        """Return the pixels of the image at `path`: uint8 [height, width, 3], read-only."""
        try:
            status = os.stat(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read as an image ({error.strerror})") from error
        stamp, entry = (status.st_size, status.st_mtime_ns), self._entry_path(path)
        pixels = self._read_entry(entry, stamp)
        if pixels is None:
            pixels = self._decode(path)
            content = HEADER.pack(*pixels.shape[:2], *stamp) + pixels.tobytes()
            if self._has_room(entry, len(content)):
                self._write_entry(entry, content)
        return pixels

    def _decode(self, path: str) -> np.ndarray:
        if self.size is None:
            return np.asarray(read_rgb(path))
        return read_resized(path, self.size, self.resample)

    def _entry_path(self, path: str) -> str:
        """Return the path of an image's entry, as a str: pathlib would take a tenth of the time of a crop."""
        key = os.path.abspath(path) + "\0upright" * isinstance(path, UprightPath)
        name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
        return f"{self.folder}/{self.form}/{name[:2]}/{name[2:32]}"

    def _read_entry(self, entry: str, stamp: tuple[int, int]) -> np.ndarray | None:
        """Map the pixels of `entry` into memory; None if it is absent, damaged or has another stamp."""
        try:
            with open(entry, "rb", buffering=0) as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # ValueError: the file is empty because the machine crashed
            return None
        if len(mapped) < HEADER.size:
            return None
        height, width, *found = HEADER.unpack_from(mapped)
        if tuple(found) != stamp or len(mapped) != HEADER.size + 3 * height * width:
            return None
        return np.frombuffer(mapped, np.uint8, offset=HEADER.size).reshape(height, width, 3)

    def _has_room(self, entry: str, size: int) -> bool:
        """Tell whether `entry` of `size` bytes may be written: there is room, or it replaces an old one."""
        with self._lock:
            if self._closed:
                return False
            if os.path.exists(entry):
                return True
            if self._entries_added % RECOUNT_INTERVAL == 0:
                self._bytes_left = self.limit - _cache_bytes(self.folder)
            self._entries_added += 1
            self._bytes_left -= size
        if self._bytes_left < 0:
            self._close(f"is full ({self.limit / 2**30:g} GiB): raise train.cache_gib, or delete the folder")
        return self._bytes_left >= 0

    def _write_entry(self, entry: str, content: bytes) -> None:
        """Write `content` to a temporary file and rename it to `entry`.

        It is not flushed to disk: an entry that a crash loses is decoded again.
        """
        temporary = Path(f"{entry}.{os.getpid()}.{threading.get_ident()}")
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            os.replace(temporary, entry)
        except OSError as error:
            with contextlib.suppress(OSError):  # deleting fails too if the folder itself is the cause
                temporary.unlink()
            self._close(f"cannot be written ({error.strerror}): set $TERRABENCH_CACHE to another folder")

    def _close(self, reason: str) -> None:
        """Write no further entry, and warn the first time."""
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            warnings.warn(
                f"the image cache {self.folder} {reason}; images without an entry are decoded at every use, "
                "which makes training slower but does not change its result",
                Remark,
                stacklevel=2,
            )


def _cache_bytes(folder: Path) -> int:
    """Count the bytes of all entries in a cache's folder; those of one size need no look at each."""
    total = 0
    for form in folder.glob("*"):
        entries = form.glob("*/*")
        if form.name == "original":
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
                    total += entry.stat().st_size
        elif (size := form.name.partition(".")[0]).isdecimal():
            total += (HEADER.size + 3 * int(size) ** 2) * sum(1 for _ in entries)
    return total
