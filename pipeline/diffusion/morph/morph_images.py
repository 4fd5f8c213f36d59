"""Make a morph between images that the user names, as the command `morph` does."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config import BaseModelSpec, MorphMethod, MorphSettings, resolve_base_model
from pipeline.core.errors import UserError
from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.morph.endpoints import Endpoint, resize
from pipeline.diffusion.morph.output import new_folder, write_morph
from pipeline.diffusion.morph.sampling import make_morph, no_progress
from pipeline.metrics.definitions import psnr
from pipeline.metrics.distances import make_distances
from pipeline.metrics.frames import image_files, read_images

MINI_MODEL = BaseModelSpec(name="mini")
MINI_SETTINGS = MorphSettings(perceptual="digits")


@dataclass(frozen=True)
class MorphOptions:
    """What `morph_images` makes.

    Attributes:
        x: An image file, or a folder of images of one style or subject.
        y: The other endpoint, of the same sort.
        prompt_x: What X shows.
        prompt_y: What Y shows; may be the same.
        method: The morphing method.
        frames: The number of frames with both endpoints, at least 2.
        base_model: The base model.
        settings: Fine-tuning and sampling; `perceptual` names the distance that places DiffMorpher's frames.
    """

    x: Path
    y: Path
    prompt_x: str
    prompt_y: str
    method: MorphMethod = "terra"
    frames: int = 16
    base_model: BaseModelSpec = MINI_MODEL
    settings: MorphSettings = MINI_SETTINGS


@dataclass(frozen=True)
class MorphReport:
    """A finished morph.

    Attributes:
        frames: uint8 [n, H, W, 3].
        about: What was asked for, the frames' positions, and how well the endpoints were reconstructed: the
            content of about.json.
    """

    frames: np.ndarray
    about: dict[str, Any]


def morph_images(
    options: MorphOptions, output: Path | None = None, progress: Progress = no_progress
) -> MorphReport:
    """Make a morph from X to Y.

    Args:
        options: What to make.
        output: A new folder for the frames, a strip, a GIF and about.json. It appears when all is written.
            None writes nothing.
        progress: Called before loading, and after each step of fine-tuning and each batch of frames.

    Raises:
        UserError: An image cannot be read, the two do not fit together, a prompt is empty, or `output`
            exists.
    """
    endpoints, sides = read_endpoints(options)
    settings = options.settings
    with (
        nullcontext() if output is None else new_folder(output) as folder,
        reproducible(torch.get_num_threads()),
    ):
        progress(0, 1, "loading the base model")
        model = BaseModel.load(resolve_base_model(options.base_model))
        distances = make_distances(settings.perceptual) if "diffmorpher" in options.method else None
        result = make_morph(model, options.method, endpoints, settings, options.frames, distances, progress)
        about = {
            "method": options.method,
            "x": str(options.x),
            "y": str(options.y),
            "prompt_x": options.prompt_x,
            "prompt_y": options.prompt_y,
            "base_model": options.base_model.model_dump(mode="json"),
            "settings": settings.model_dump(mode="json"),
            "places": [round(float(position), 4) for position in result.positions],
            "resized_from": None if sides == [options.base_model.resolution] * 2 else sides,
            **_reconstruction(model, endpoints, result.frames),
        }
        if folder is not None:
            write_morph(folder, result.frames, about)
    return MorphReport(result.frames, about)


def read_endpoints(options: MorphOptions) -> tuple[tuple[Endpoint, Endpoint], list[int]]:
    """Read X and Y upright, at the base model's resolution.

    Returns:
        The endpoints, and the sides in pixels that their images have in the files.

    Raises:
        UserError: A prompt is empty, an image cannot be read, or the two do not fit together.
    """
    for name, prompt in (("x", options.prompt_x), ("y", options.prompt_y)):
        if not prompt.strip():
            raise UserError(f"prompt-{name} is missing: say what {name.upper()} shows, such as 'a cat'")
    x, y = options.x, options.y
    for path in (x, y):
        if not path.exists():
            raise UserError(f"there is no file or folder {path}")
    if x.is_dir() != y.is_dir():
        raise UserError(f"{x} and {y}: expected two images or two folders, not one of each")
    if x.is_dir():
        images_x, images_y = _read_folder(x), _read_folder(y)
    else:
        both = read_images([x, y])
        images_x, images_y = both[:1], both[1:]
    for path, images in ((x, images_x), (y, images_y)):
        height, width = images.shape[1:3]
        if height != width:
            raise UserError(f"{path}: images are {width}x{height}; expected square ones: crop them first")
    size = options.base_model.resolution
    endpoints = (
        Endpoint(resize(images_x, size), options.prompt_x),
        Endpoint(resize(images_y, size), options.prompt_y),
    )
    return endpoints, [images_x.shape[1], images_y.shape[1]]


def _read_folder(folder: Path) -> np.ndarray:
    """Read the images of a style or a subject: uint8 [n, H, W, 3], two or more."""
    files = image_files(folder)
    if len(files) < 2:
        raise UserError(
            f"{folder} has {len(files)} images; a style or a subject needs two or more. "
            "For a single image, give its file"
        )
    return read_images(files)


def _reconstruction(
    model: BaseModel, endpoints: tuple[Endpoint, Endpoint], frames: np.ndarray
) -> Mapping[str, list[float]]:
    """Measure how well X and Y are reconstructed.

    Returns:
        The PSNR in dB of the first and last frame to X and Y, and that of the base model's autoencoder alone,
        which is the most that can be reached. Nothing for folders.
    """
    if any(len(endpoint.images) > 1 for endpoint in endpoints):
        return {}
    originals = np.concatenate([endpoint.images for endpoint in endpoints])
    decoded = model.decode(model.encode(originals))
    return {
        "psnr": [round(psnr(*pair), 2) for pair in zip(frames[[0, -1]], originals, strict=True)],
        "psnr_of_autoencoder": [round(psnr(*pair), 2) for pair in zip(decoded, originals, strict=True)],
    }
