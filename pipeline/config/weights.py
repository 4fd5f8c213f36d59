"""Which weights a suite names: their files are hashed, so that the keys of jobs change with them."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pipeline.config.suites import AdapterSpec, BaseModelSpec, Suite, TrainSettings
from pipeline.config.t_predictor import TPredictorSettings
from pipeline.core.errors import UserError
from pipeline.core.paths import PACKAGE
from pipeline.core.store import sha256

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

MINI = PACKAGE / "diffusion" / "mini" / "weights"

MINI_ENCODER = PACKAGE / "diffusion" / "mini" / "encoder.safetensors"
"""The weights of the encoder called `mini`, a digits_cnn."""


NAMED = {
    "mini": str(MINI),
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}
"""The folder or the hub id that a name stands for."""


def base_model_path(spec: BaseModelSpec) -> str:
    """What `DiffusionPipeline.from_pretrained` is given: a folder, or a hub id."""
    return NAMED.get(spec.name, spec.name)


def resolve_base_model(spec: BaseModelSpec) -> BaseModelSpec:
    """`spec` with revisions that identify the weights, so that a job's key changes when they do.

    A folder's revision is a hash of the names and sizes of its files and of the contents of those up to 64 MiB
    (the whole of `mini`); a hub id keeps the revision that the suite states. UserError if a folder is not there, or
    has a pickle where its weights should be.
    """
    found = {"revision": _revision(base_model_path(spec), spec.revision, "base_model")}
    if spec.vae is not None:
        found["vae_revision"] = _revision(spec.vae, spec.vae_revision, "base_model.vae")
    return spec.model_copy(update=found)


def _revision(where: str, stated: str | None, field: str) -> str | None:
    """Of the folder or hub id `where`."""
    folder = Path(where)
    if not folder.is_dir():
        if folder.is_absolute() or where.startswith("."):
            raise UserError(f"{field} {where!r}: there is no folder {folder}")
        return stated
    refuse_pickles(folder, field)
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".txt")):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)} {size}\n".encode())
        if size <= 64 * 2**20:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def refuse_pickles(folder: Path, field: str) -> None:
    """UserError if a part of the pipeline in `folder` has weights in a pickle, and none in safetensors."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix in PICKLES):
        if not any(path.parent.glob("*.safetensors")):
            raise UserError(
                f"{field}: {path} is a pickle, which can run any code when it is read, and there are no safetensors "
                "beside it; where you trust it, convert the folder by diffusers' "
                f"DiffusionPipeline.from_pretrained({str(folder)!r}, use_safetensors=False)"
                ".save_pretrained('NEW_FOLDER')"
            )


SMALL = "digits_cnn"
"""The one backbone that is not of timm."""

HUB = "hub"
"""What `pretrained` says for weights that timm fetches."""


def resolve_pretrained(suite: Suite) -> Suite:
    """`suite` with the hash of every file of pretrained weights, so that the keys of the jobs that take it change with it;
    and of every encoder.

    UserError if a file is not there, or is not the one whose hash the suite states.
    """
    methods, hashed = [], cache(sha256)
    for method in suite.methods:
        settings = suite.train_settings(method)
        found = _hash_of_weights(settings, f"method {suite.label(method)}: train", hashed)
        told = {"pretrained_sha256": found} if found != suite.train.pretrained_sha256 else {}
        methods.append(method.model_copy(update={"train": method.train | told}))
    changed: dict[str, object] = {"methods": methods}
    if suite.setting == "dg":
        changed["t_predictor"] = resolve_t_predictor(suite.t_predictor)
    changed["adapter"] = resolve_encoder(suite.adapter)
    changed["adapters"] = {name: resolve_encoder(spec) for name, spec in suite.adapters.items()}
    return suite.model_copy(update=changed)


def encoder_path(spec: AdapterSpec) -> str | None:
    """The file, folder or hub id of the encoder of a LoRWeB; None of another adapter."""
    if spec.analogy is None:
        return None
    named = spec.analogy.encoder
    return str(MINI_ENCODER) if named == "mini" else named if "/" in named else f"timm/{named}"


def resolve_encoder(spec: AdapterSpec) -> AdapterSpec:
    """`spec` of a LoRWeB with a revision that identifies the weights of its encoder, where they are files here."""
    if spec.analogy is None:
        return spec
    if spec.analogy.encoder == "mini":
        found: str | None = sha256(MINI_ENCODER)[:16]
    else:
        found = _revision(spec.analogy.encoder, spec.analogy.encoder_revision, "adapter.analogy.encoder")
    return spec.model_copy(update={"analogy": spec.analogy.model_copy(update={"encoder_revision": found})})


def resolve_t_predictor(settings: TPredictorSettings) -> TPredictorSettings:
    """`settings` with the hash of their file of pretrained weights; UserError as of resolve_pretrained."""
    return settings.model_copy(
        update={"pretrained_sha256": _hash_of_weights(settings, "t_predictor", sha256)}
    )


def _hash_of_weights(
    settings: TrainSettings | TPredictorSettings, field: str, hashed: Callable[[Path], str]
) -> str | None:
    """The hash of the file `settings.pretrained`, None if it is none. field: what a suite calls `settings`."""
    if settings.pretrained in (None, HUB):
        return None
    path = Path(settings.pretrained)
    if not path.is_file():
        raise UserError(f"{field}.pretrained: there is no file {path}; expected hub, a file's path, or null")
    found = hashed(path)
    if settings.pretrained_sha256 not in (None, found):
        raise UserError(
            f"{field}.pretrained: {path} has sha256 {found[:16]}…, "
            f"but {field.rpartition(' ')[2]}.pretrained_sha256 is {settings.pretrained_sha256[:16]}…"
        )
    return found
