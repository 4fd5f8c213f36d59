"""What `morph` does; its arguments are in pipeline/cli/morph.py."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError

from pipeline.config import NAMED_MODELS, BaseModelSpec, MorphSettings, resolve_base_model
from pipeline.core.errors import UserError
from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.morph.endpoints import End
from pipeline.diffusion.morph.output import GIF, STRIP, new_folder, write_morph
from pipeline.diffusion.morph.sampling import make_morph
from pipeline.metrics.definitions import psnr
from pipeline.metrics.distances import make_distances
from pipeline.metrics.frames import ABOUT, image_files, read_images

DISTANCE = {"mini": "digits"}
"""What frames are placed by where the user names nothing; elsewhere LPIPS."""


def make(options: argparse.Namespace) -> int:
    """`morph`."""
    spec, settings = _base_model(options), _settings(options)
    ends, resized_from = _ends(options, spec.resolution)
    try:
        with new_folder(options.output) as folder, reproducible(torch.get_num_threads()):
            model = BaseModel.load(resolve_base_model(spec))
            distances = make_distances(settings.perceptual) if "diffmorpher" in options.method else None
            with _bar(quiet=options.quiet) as progress:
                made = make_morph(model, options.method, ends, settings, options.frames, distances, progress)
            about = _about(options, spec, settings, made.places)
            about |= {"resized_from": resized_from} | _reconstruction(model, ends, made.frames)
            write_morph(folder, made.frames, about)
    except KeyboardInterrupt:
        print(f"\nstopped; nothing was written to {options.output}", file=sys.stderr)
        return 130
    print(json.dumps(about) if options.json else _told(options, about))
    return 0


def _ends(options: argparse.Namespace, resolution: int) -> tuple[tuple[End, End], list[int] | None]:
    """X and Y with their prompts, at `resolution`, and the sides that they had, if these were others.

    UserError if a prompt is missing, or the two don't fit together.
    """
    for name in ("x", "y"):
        if not (getattr(options, f"prompt_{name}") or "").strip():
            raise UserError(
                f"--prompt-{name} is missing: say what {name.upper()} shows, as in --prompt-{name} 'a cat'"
            )
    x, y = options.x, options.y
    for path in (x, y):
        if not path.exists():
            raise UserError(f"there is no file or folder {path}")
    if x.is_dir() != y.is_dir():
        raise UserError(f"{x} and {y}: expected two images or two folders, not one of each")
    if not x.is_dir():
        both = read_images([x, y])
        images = both[:1], both[1:]
    else:
        images = _folder(x), _folder(y)
    for path, some in zip((x, y), images, strict=True):
        if some.shape[1] != some.shape[2]:
            raise UserError(
                f"{path}: images are {some.shape[2]}x{some.shape[1]}; expected square ones: crop them first"
            )
    sides = [some.shape[1] for some in images]
    ends = [
        End(at_size(some, resolution), getattr(options, f"prompt_{name}"))
        for name, some in zip("xy", images, strict=True)
    ]
    return tuple(ends), None if sides == [resolution] * 2 else sides


def at_size(images: np.ndarray, size: int) -> np.ndarray:
    """Square images as uint8 [n, size, size, 3]: as they are, or resized by Lanczos' filter."""
    if images.shape[1] == size:
        return images
    return np.stack(
        [Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS) for image in images]
    )


def _folder(path: Path) -> np.ndarray:
    files = image_files(path)
    if len(files) < 2:
        raise UserError(
            f"{path} has {len(files)} images; a style or a subject is several, for one give its file"
        )
    return read_images(files)


def _base_model(options: argparse.Namespace) -> BaseModelSpec:
    named = {"name": options.base_model}
    if options.resolution is not None:
        named["resolution"] = options.resolution
    elif options.base_model not in NAMED_MODELS:
        raise UserError(f"--base-model {options.base_model}: say its resolution, such as --resolution 512")
    return BaseModelSpec.model_validate(named)


def _settings(options: argparse.Namespace) -> MorphSettings:
    told = {
        "tune_steps": options.steps,
        "learning_rate": options.learning_rate,
        "rank": options.rank,
        "steps": options.sampling_steps,
        "seed": options.seed,
        "perceptual": options.distance or DISTANCE.get(options.base_model, "alex"),
    }
    try:
        return MorphSettings(**told)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"--{str(first['loc'][0]).replace('_', '-')} {first['input']}: {first['msg']}"
        ) from error


def _about(
    options: argparse.Namespace, spec: BaseModelSpec, settings: MorphSettings, places: np.ndarray
) -> dict[str, object]:
    """What was asked, and where the frames stand."""
    asked = {
        "x": str(options.x),
        "y": str(options.y),
        "prompt_x": options.prompt_x,
        "prompt_y": options.prompt_y,
    }
    return {
        "method": options.method,
        **asked,
        "base_model": spec.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "places": [round(float(place), 4) for place in places],
    }


def _reconstruction(model: BaseModel, ends: tuple[End, End], frames: np.ndarray) -> dict[str, object]:
    """PSNR in dB of the first and the last frame to X and Y, and the most that the base model's autoencoder lets through.

    Of folders there is nothing to reconstruct.
    """
    if any(len(end.images) > 1 for end in ends):
        return {}
    given = np.concatenate([end.images for end in ends])
    most = model.decode(model.encode(given))
    return {
        "psnr": [round(psnr(frame, end), 2) for frame, end in zip(frames[[0, -1]], given, strict=True)],
        "psnr_of_autoencoder": [round(psnr(image, end), 2) for image, end in zip(most, given, strict=True)],
    }


def _told(options: argparse.Namespace, about: dict[str, object]) -> str:
    lines = [f"{options.output}: {options.frames} frames by {options.method}, {STRIP}, {GIF}, {ABOUT}"]
    if "psnr" in about:
        (x, y), (most_x, most_y) = about["psnr"], about["psnr_of_autoencoder"]
        lines.append(
            f"X came back with a PSNR of {x:.1f} dB, Y with {y:.1f} (the model's autoencoder alone: {most_x:.1f} and "
            f"{most_y:.1f})"
        )
    if about["resized_from"]:
        sides = " and ".join(map(str, about["resized_from"]))
        lines.append(
            f"X and Y were resized from {sides} to {about['base_model']['resolution']} pixels, the model's"
        )
    return "\n".join(lines)


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Progress]:
    """A bar for the tuning, and then one for the frames."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), disable=quiet, transient=True) as bars:
        task = bars.add_task("loading", total=None)

        def progress(done: int, total: int, what: str) -> None:
            bars.update(task, completed=done, total=total, description=what)

        yield progress
