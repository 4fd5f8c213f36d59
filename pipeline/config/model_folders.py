"""What a diffusers folder must hold, known from its files. Imports no torch."""

import os
import re
from pathlib import Path
from typing import Any

from pipeline.config.base import MAX_TIMESTEPS
from pipeline.config.documents import short_repr
from pipeline.core.errors import UserError
from pipeline.core.json_files import read_object

TIMESTEPS = 1000
"""The timesteps of diffusers' noise schedules that state no number."""

SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""The suffixes of checkpoints that hold a whole model in one file."""

WEIGHTS = re.compile(r"^[^.]+(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.safetensors$")
"""Names of weights; model.fp16.safetensors is of the variant fp16, model.safetensors of none."""


def expanded(name: str) -> str:
    """Return the name of a folder, a file or a hub id with the home folder for a `~` at the start."""
    return os.path.expanduser(name)  # Path.expanduser raises where there is no such user


def check_base_model(where: str, field: str, parts_given: frozenset[str] = frozenset()) -> None:
    """Check that `where` is a diffusers folder with weights in safetensors, or reads like a hub id.

    Args:
        where: What a suite names as its base model.
        field: The field that names it, for messages.
        parts_given: The parts of the model that are loaded from elsewhere.

    Raises:
        UserError: It is neither, or the folder lacks weights.
    """
    folder = Path(where)
    if folder.is_file() or (not folder.is_dir() and folder.suffix in SINGLE_FILES):
        _refuse_single_file(folder, field)
    if not folder.is_dir():
        if folder.is_absolute() or where.startswith("."):
            raise UserError(f"{field} {where!r}: there is no folder {folder}")
        if where.count("/") != 1:
            raise UserError(f"{field} {where!r} is neither a folder nor a hub id (OWNER/NAME)")
        return
    if not (folder / "model_index.json").is_file():
        raise UserError(f"{field}: {folder} has no model_index.json, so it is no diffusers folder of a model")
    for part in _parts(folder, field) - parts_given:
        subfolder = folder / part
        needs_weights = (subfolder / "config.json").is_file() and not part.startswith("tokenizer")
        if needs_weights and not any(subfolder.glob("*.safetensors")) and not _has_pickle(subfolder):
            raise UserError(f"{field}: {subfolder} has no weights (*.safetensors); copy or download it again")
    train_timesteps(folder, field)
    variant_of(folder, field)


def check_encoder(folder: Path, field: str) -> None:
    """Check that a folder is one of transformers, with weights in safetensors.

    Raises:
        UserError: It is not.
    """
    _read(folder / "config.json", field)
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{field}: {folder} has no weights (*.safetensors); copy or download it again")


def train_timesteps(folder: Path, field: str) -> int:
    """Return the number of timesteps in the noise schedule of a model's folder; 1,000 if it states none.

    Raises:
        UserError: The schedule is damaged, or too long to be computed.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    if not path.exists():
        return TIMESTEPS
    stated = _read(path, field).get("num_train_timesteps", TIMESTEPS)
    if type(stated) is not int or not 1 <= stated <= MAX_TIMESTEPS:
        raise UserError(
            f"{field}: {path} states num_train_timesteps: {short_repr(stated)}; expected a whole number from "
            f"1 to {MAX_TIMESTEPS:,}"
        )
    return stated


def _read(path: Path, field: str) -> dict[str, Any]:
    """Return the JSON object in a file of the model that the suite's `field` names."""
    try:
        return read_object(path, "copy or download it again")
    except UserError as error:
        raise UserError(f"{field}: {error}") from error


def _has_pickle(folder: Path) -> bool:
    """Tell whether a folder has weights in a pickle; `refuse_pickles` has a message of its own about them."""
    return any(path.suffix in SINGLE_FILES[1:] for path in folder.iterdir())


def _refuse_single_file(path: Path, field: str) -> None:
    """Raise UserError for a checkpoint in one file."""
    if not path.is_file():
        raise UserError(f"{field}: there is no file {path}; name a diffusers folder or a hub id (OWNER/NAME)")
    raise UserError(
        f"{field}: {path} is a single file, and a diffusers folder is needed; convert it by diffusers' "
        f"PIPELINE.from_single_file({str(path)!r}).save_pretrained('NEW_FOLDER'), where PIPELINE is "
        "StableDiffusionPipeline or StableDiffusionXLPipeline, and name NEW_FOLDER"
    )


def _parts(folder: Path, field: str) -> set[str]:
    """Return the names of the parts that model_index.json lists."""
    index = _read(folder / "model_index.json", field)
    return {name for name, kind in index.items() if isinstance(kind, list) and kind and kind[0]}


def variant_of(folder: Path, field: str) -> str | None:
    """Return the variant by which a model's folder is to be loaded.

    Args:
        folder: A folder with weights in it or in its subfolders.
        field: The field of the suite that names it, for messages.

    Returns:
        The variant, such as fp16, of the subfolders whose weights have no plain names; None where all have.

    Raises:
        UserError: No variant is there for all subfolders that need one.
    """
    needed: set[str] | None = None
    for subfolder in sorted({path.parent for path in folder.rglob("*.safetensors")}):
        names = (WEIGHTS.match(path.name) for path in subfolder.glob("*.safetensors"))
        found = {match["variant"] for match in names if match}
        if found and None not in found:
            variants = {str(variant) for variant in found}
            needed = variants if needed is None else needed & variants
    if needed is None:
        return None
    if not needed:
        raise UserError(
            f"{field}: the parts of {folder} have weights of different variants (NAME.VARIANT.safetensors) "
            "and none in common; download it again with one variant"
        )
    return "fp16" if "fp16" in needed else min(needed)
