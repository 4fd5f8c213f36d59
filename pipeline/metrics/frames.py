"""Reads folders of frames that were made here or elsewhere, and refuses what would make a score mean something else."""

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.core.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
ABOUT = "about.json"
"""What `morph` writes beside its frames."""

NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True)
class Sequence:
    """One sequence of frames: uint8 [n, H, W, 3]. method: what it was made by, or else the name of its folder."""

    folder: Path
    method: str
    frames: np.ndarray


def read_image(path: Path) -> tuple[np.ndarray, str]:
    """uint8 [H, W, 3], a grey image with thrice the same; and its mode, RGB or L. UserError for any other mode."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise UserError(f"{path} can't be read as an image ({error})") from error
    if image.mode not in ("RGB", "L"):
        raise UserError(f"{path} is of mode {image.mode}; expected RGB or L (grey): convert it first")
    return np.array(image.convert("RGB")), image.mode


def read_images(paths: list[Path]) -> np.ndarray:
    """Images of one size and one mode: uint8 [n, H, W, 3]; UserError that names the first that is otherwise."""
    read = [read_image(path) for path in paths]
    (first, mode), expected = read[0], paths[0]
    for (image, its_mode), path in zip(read, paths, strict=True):
        if image.shape != first.shape:
            (h, w), (height, width) = image.shape[:2], first.shape[:2]
            raise UserError(
                f"{path} is {w}x{h}, but {expected.name} is {width}x{height}; expected images of one size"
            )
        if its_mode != mode:
            raise UserError(
                f"{path} is of mode {its_mode}, but {expected.name} is {mode}; expected images of one mode"
            )
    return np.stack([image for image, _ in read])


def image_files(folder: Path) -> list[Path]:
    """The images in `folder`, by name; UserError if there is no such folder."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def frame_files(folder: Path) -> list[Path]:
    """The frames in `folder`, in the order of the numbers at the end of their names.

    Other images, such as a strip, are not frames. UserError if numbers are missing or double, or names begin in more
    ways than one.
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
                f"{folder} has no frame {before + 1}: {by_number[before].name} is followed by {by_number[after].name}; "
                "a sequence with a gap would look less smooth than it is"
            )
    return [by_number[number] for number in numbers]


def read_sequences(folder: Path) -> list[Sequence]:
    """The sequence in `folder`, or those in its folders; UserError if there is none, or one has fewer than two frames."""
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
    """What about.json says, or the name of the folder that the user named."""
    about = folder / ABOUT
    if about.exists():
        try:
            return str(json.loads(about.read_text())["method"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{about} does not say by which method the frames were made") from error
    return named.resolve().name
