"""Read frames and reference images, and refuse what would change the meaning of a score."""

import json
import re
from collections.abc import Sequence as Many
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.open_image import open_image

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
ABOUT = "about.json"
"""The file in which `morph` describes its frames."""

NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True)
class Sequence:
    """One sequence of frames.

    Attributes:
        folder: Where they are.
        method: What made them, from about.json; without that file, the name of the folder that the user
            named.
        frames: uint8 [n, H, W, 3].
    """

    folder: Path
    method: str
    frames: np.ndarray


def read_image(path: Path) -> tuple[np.ndarray, str]:
    """Read an image upright.

    Returns:
        The pixels, uint8 [H, W, 3], where a grey image has three equal channels; and the mode, RGB or L.

    Raises:
        UserError: The file is not a complete image, or has another mode.
    """
    image = open_image(path)
    if image.mode not in ("RGB", "L"):
        raise UserError(f"{path} is of mode {image.mode}; expected RGB or L (grey): convert it first")
    return np.array(image.convert("RGB")), image.mode


def read_images(paths: Many[Path]) -> np.ndarray:
    """Read images of one size and one mode: uint8 [n, H, W, 3].

    Raises:
        UserError: An image cannot be read, or its size or mode differs from those of the first.
    """
    images = [read_image(path) for path in paths]
    (first, mode), first_path = images[0], paths[0]
    for (image, image_mode), path in zip(images, paths, strict=True):
        if image.shape != first.shape:
            (h, w), (height, width) = image.shape[:2], first.shape[:2]
            raise UserError(
                f"{path} is {w}x{h}, but {first_path.name} is {width}x{height}; expected images of one size"
            )
        if image_mode != mode:
            raise UserError(
                f"{path} is of mode {image_mode}, but {first_path.name} is {mode}; "
                "expected images of one mode"
            )
    return np.stack([image for image, _ in images])


def image_files(folder: Path) -> list[Path]:
    """List the images in `folder` by name.

    Raises:
        UserError: The folder does not exist.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def reference_files(folder: Path) -> list[Path]:
    """List the images in `folder`, or those in its class folders if it has no images itself.

    Raises:
        UserError: The folder does not exist, or has fewer than two images.
    """
    files = image_files(folder)
    if not files:
        classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        files = [file for path in classes for file in image_files(path)]
    if len(files) < 2:
        raise UserError(f"the reference {folder} has {len(files)} images; expected two or more")
    return files


def frame_files(folder: Path) -> list[Path]:
    """List the frames in `folder` in the order of the numbers at the end of their names.

    Other images, for example a strip, are ignored.

    Raises:
        UserError: A number is missing or occurs twice, or the names have different beginnings.
    """
    found = {path: match for path in image_files(folder) if (match := NUMBERED.fullmatch(path.stem))}
    prefixes = sorted({match[1] for match in found.values()})
    if len(prefixes) > 1:
        raise UserError(
            f"{folder} has frames called {prefixes[0]}… and {prefixes[1]}…; expected one sequence in a folder"
        )
    by_number: dict[int, Path] = {}
    for path, match in found.items():
        if (other := by_number.setdefault(int(match[2]), path)) != path:
            raise UserError(f"{folder}: {other.name} and {path.name} have the same number")
    numbers = sorted(by_number)
    for before, after in pairwise(numbers):
        if after != before + 1:
            raise UserError(
                f"{folder} has no frame {before + 1}: {by_number[before].name} is followed by "
                f"{by_number[after].name}; a sequence with a gap would look less smooth than it is"
            )
    return [by_number[number] for number in numbers]


def read_sequences(folder: Path) -> list[Sequence]:
    """Read the sequence in `folder`, or the sequences in its folders.

    Raises:
        UserError: There is no sequence, one has fewer than two frames, or an image cannot be read.
    """
    files = frame_files(folder)
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    found = [(folder, files)] if files else [(path, frame_files(path)) for path in inner]
    found = [(path, files) for path, files in found if files or path == folder]
    if not found:
        raise UserError(
            f"{folder} has no frames; expected images whose names end in numbers, such as frame_000.png"
        )
    for path, files in found:
        if len(files) < 2:
            raise UserError(f"{path} has one frame, {files[0].name}; a sequence has at least two")
    return [Sequence(path, _method(path, folder), read_images(files)) for path, files in found]


def _method(folder: Path, named: Path) -> str:
    """Return the method in about.json of `folder`, or the name of the folder that the user named."""
    about = folder / ABOUT
    if about.exists():
        try:
            return str(json.loads(about.read_text())["method"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{about} does not say by which method the frames were made") from error
    return named.resolve().name
