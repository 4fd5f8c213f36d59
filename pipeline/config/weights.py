"""The weights that a suite names. Their files are hashed, so that the keys of jobs change with them."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from pipeline.config.adapters import AdapterSpec
from pipeline.config.any_suite import AnySuite
from pipeline.config.base_model import BaseModelSpec
from pipeline.config.model_folders import check_base_model, check_encoder, expanded, train_timesteps
from pipeline.config.packages import PREFIX, package_file
from pipeline.config.suites import Suite
from pipeline.config.t_predictor import TPredictorSettings
from pipeline.config.train import MethodSpec, TrainSettings
from pipeline.config.zero_shot import ZeroShotSettings
from pipeline.core.errors import UserError
from pipeline.core.paths import PACKAGE
from pipeline.core.store import sha256

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""The suffixes of weights that are pickles."""

MINI = PACKAGE / "diffusion" / "mini" / "weights"
"""The diffusers folder of the base model `mini`."""

MINI_ENCODER = PACKAGE / "diffusion" / "mini" / "encoder.safetensors"
"""The weights of the encoder `mini`, a digits_cnn."""

NAMED = {
    "mini": str(MINI),
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}
"""The folder or hub id of each base model that has a short name."""

SMALL = "digits_cnn"
"""The one backbone that is not a model of timm."""

HUB = "hub"
"""The value of `pretrained` for weights that timm downloads."""

HASHED = (".safetensors", ".json", ".txt")
"""The suffixes of the files that identify a folder of weights."""

HASHED_IN_FULL = 64 * 2**20
"""The size in bytes up to which a file of a folder is hashed by its contents."""


def base_model_path(spec: BaseModelSpec) -> str:
    """Return the folder or hub id of a base model, as `DiffusionPipeline.from_pretrained` takes it."""
    return NAMED.get(spec.name) or expanded(spec.name)


def vae_path(spec: BaseModelSpec) -> str | None:
    """Return the folder or hub id of the VAE that replaces a base model's own; None without one."""
    return None if spec.vae is None else expanded(spec.vae)


def resolve_base_model(spec: BaseModelSpec) -> BaseModelSpec:
    """Return `spec` with revisions that identify its weights, so that the keys of jobs change with them.

    The revision of a folder is a hash of the names and sizes of its files, and of the contents of those up to
    64 MiB (which covers the whole of `mini`). A hub id keeps the revision that the suite states.

    Raises:
        UserError: A folder does not exist, lacks weights, or has them in a pickle only; or a single file is
            named.
    """
    where, vae = base_model_path(spec), vae_path(spec)
    check_base_model(where, "base_model", frozenset() if vae is None else frozenset({"vae"}))
    found = {"revision": _revision(where, spec.revision, "base_model")}
    if vae is not None:
        found["vae_revision"] = _revision(vae, spec.vae_revision, "base_model.vae")
    return spec.model_copy(update=found)


def check_steps(suite: AnySuite) -> None:
    """Check that no sampler takes more steps than the base model's noise schedule has timesteps.

    Raises:
        UserError: One does, or the schedule is damaged.
    """
    timesteps = train_timesteps(Path(base_model_path(suite.base_model)), "base_model")
    if isinstance(suite, Suite):
        samplers = {
            "finetune.validation": suite.finetune.validation.steps,
            "generate": suite.generate.steps,
            "generate.between.morph": suite.generate.between.morph.steps,
        }
    else:
        samplers = {"morph": suite.morph.steps}
    for field, steps in samplers.items():
        if steps > timesteps:
            raise UserError(
                f"{field}.steps: {steps:,} is more than the {timesteps:,} timesteps of base_model "
                f"{suite.base_model.name}; take fewer"
            )


def _revision(where: str, stated: str | None, field: str) -> str | None:
    """Return the revision of a folder, or of a hub id as the suite stated it; `field` names it in errors."""
    folder = Path(where)
    if not folder.is_dir():
        if folder.is_file():
            raise UserError(f"{field} {where!r} is a single file; name a folder or a hub id (OWNER/NAME)")
        if folder.is_absolute() or where.startswith("."):
            raise UserError(f"{field} {where!r}: there is no folder {folder}")
        return stated
    refuse_pickles(folder, field)
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in HASHED and p.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)} {size}\n".encode())
        if size <= HASHED_IN_FULL:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def refuse_pickles(folder: Path, field: str) -> None:
    """Raise UserError if a subfolder of `folder`, which `field` names, has weights in a pickle only."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix in PICKLES):
        if not any(path.parent.glob("*.safetensors")):
            raise UserError(
                f"{field}: {path} is a pickle, which can run any code when it is read, and there are no "
                "safetensors beside it; if you trust it, convert the folder by diffusers' "
                f"DiffusionPipeline.from_pretrained({str(folder)!r}, "
                "use_safetensors=False).save_pretrained('NEW_FOLDER')"
            )


SuiteT = TypeVar("SuiteT", bound=AnySuite)


def resolve_pretrained(suite: SuiteT) -> SuiteT:
    """Return `suite` with the hash of every file of pretrained weights and the revision of every encoder.

    The keys of the jobs that use them then change with them.

    Raises:
        UserError: A file does not exist, or does not have the hash that the suite states.
    """
    if not isinstance(suite, Suite):
        return suite  # names no files of weights
    methods, hash_of = [], cache(sha256)
    for method in suite.methods:
        if method.zero_shot:
            methods.append(_resolve_zero_shot(method, method.zero_shot))
            continue
        settings = suite.train_settings(method)
        found = _hash_of_weights(settings, f"method {suite.label(method)}: train", hash_of)
        update = {"pretrained_sha256": found} if found != suite.train.pretrained_sha256 else {}
        methods.append(method.model_copy(update={"train": method.train | update}))
    changed: dict[str, object] = {"methods": methods}
    if suite.setting == "dg":
        changed["t_predictor"] = resolve_t_predictor(suite.t_predictor)
    changed["adapter"] = resolve_encoder(suite.adapter)
    changed["adapters"] = {name: resolve_encoder(spec) for name, spec in suite.adapters.items()}
    return suite.model_copy(update=changed)


def _resolve_zero_shot(method: MethodSpec, settings: ZeroShotSettings) -> MethodSpec:
    """Return `method` with a revision that identifies the files of its model, where they are here."""
    found = _revision(expanded(settings.model), settings.revision, f"method {method.name}: model")
    update = {} if found is None else {"revision": found}
    return method.model_copy(update={"hyperparameters": method.hyperparameters | update})


def encoder_path(spec: AdapterSpec) -> str | None:
    """Return the file, folder or hub id of the encoder of a LoRWeB; None for another adapter."""
    if spec.analogy is None:
        return None
    named = expanded(spec.analogy.encoder)
    return str(MINI_ENCODER) if named == "mini" else named if "/" in named else f"timm/{named}"


def weights_file(pretrained: str) -> Path:
    """Return the file that a suite names as pretrained weights: by its path, or as `package:MODULE/FILE`.

    Raises:
        UserError: The package is not installed, or has no such file.
    """
    return package_file(pretrained) if pretrained.startswith(PREFIX) else Path(expanded(pretrained))


def resolve_encoder(spec: AdapterSpec) -> AdapterSpec:
    """Return `spec` with a revision that identifies the files of a LoRWeB's encoder, where they are here."""
    if spec.analogy is None:
        return spec
    if spec.analogy.encoder == "mini":
        found: str | None = sha256(MINI_ENCODER)[:16]
    else:
        where, field = expanded(spec.analogy.encoder), "adapter.analogy.encoder"
        found = _revision(where, spec.analogy.encoder_revision, field)
        if Path(where).is_dir():
            check_encoder(Path(where), field)
    return spec.model_copy(update={"analogy": spec.analogy.model_copy(update={"encoder_revision": found})})


def resolve_t_predictor(settings: TPredictorSettings) -> TPredictorSettings:
    """Return `settings` with the hash of its file of pretrained weights.

    Raises:
        UserError: The file does not exist, or does not have the hash that the suite states.
    """
    found = _hash_of_weights(settings, "t_predictor", sha256)
    return settings.model_copy(update={"pretrained_sha256": found})


def _hash_of_weights(
    settings: TrainSettings | TPredictorSettings, field: str, hash_of: Callable[[Path], str]
) -> str | None:
    """Return the hash of the file of pretrained weights, None without one; `field` names it in errors."""
    if settings.pretrained in (None, HUB):
        return None
    try:
        path = weights_file(settings.pretrained)
    except UserError as error:
        raise UserError(f"{field}.pretrained: {error}") from error
    if not path.is_file():
        raise UserError(f"{field}.pretrained: there is no file {path}; expected hub, a file's path, or null")
    found = hash_of(path)
    if settings.pretrained_sha256 not in (None, found):
        raise UserError(
            f"{field}.pretrained: {path} has sha256 {found[:16]}…, "
            f"but {field.rpartition(' ')[2]}.pretrained_sha256 is {settings.pretrained_sha256[:16]}…"
        )
    return found
