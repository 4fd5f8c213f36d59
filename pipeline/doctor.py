"""`doctor`: what this machine has for running suites, and for what is missing the command that gets it."""

import configparser
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pipeline import config
from pipeline.config import HUB, SMALL, BuiltCard, FolderCard, Suite
from pipeline.core import hardware
from pipeline.core.paths import CHECKOUT, PROGRAM, yaml_files
from pipeline.planning.cost import needs_gpu
from pipeline.planning.graph import make_plan
from pipeline.planning.network_sizes import GIB


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    group: what it is one of; found: what there is of it; missing: whether it is not as it should be; get: the command
    that gets it; suites: the names of those that need it (all, of packages).
    """

    group: str
    what: str
    found: str
    missing: bool = False
    get: str = ""
    suites: tuple[str, ...] = ()


def examine(store: Path, suites: Sequence[Suite]) -> list[Finding]:
    """All findings. store: the folder whose disk artifacts will be on; suites: those whose weights and data count."""
    return [*_machine(store, suites), *_packages(suites), *_weights(suites), *_datasets(suites)]


def known_suites() -> list[Suite]:
    """The suites of trainings under benchmarks/."""
    found = (config.read_any_suite(name) for name in yaml_files("benchmarks"))
    return [suite for suite in found if isinstance(suite, Suite)]


def wanting(findings: list[Finding], suite: str) -> list[Finding]:
    """What is missing of what the suite of that name needs."""
    return [one for one in findings if one.missing and suite in one.suites]


def _machine(store: Path, named: Sequence[Suite]) -> Iterator[Finding]:
    """Python, torch, cores, memory, GPUs and disk."""
    suites = tuple(suite.name for suite in named)
    old = sys.version_info < (3, 11)
    yield Finding("machine", "python", platform.python_version(), old, "install Python 3.11 or newer", suites)
    yield Finding("machine", "system", platform.platform(terse=True))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield Finding("machine", "cpu", f"{hardware.cpus()} cores, {pages / GIB:.0f} GiB of memory")
    gpus = hardware.gpus()
    for gpu in gpus:
        yield Finding("machine", "gpu", f"{gpu.name}, {gpu.gib:.0f} GiB")
    if not gpus:
        hungry = tuple(suite.name for suite in named if _needs_gpu(suite))
        get = "use a machine with one, or a cluster by --executor ray; or run with --cpu, or base_model: {name: mini, resolution: 32}"
        said = "none that nvidia-smi lists: jobs run on the CPU"
        yield Finding("machine", "gpu", said, bool(hungry), get if hungry else "", hungry)
    if gpus and importlib.util.find_spec("torch"):
        import torch

        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
        said = f"torch {torch.__version__} can use {seen} of {len(gpus)} GPUs"
        get = "install the build of torch for your driver: https://pytorch.org/get-started/locally"
        yield Finding("machine", "torch on gpu", said, seen != len(gpus), get)
    there = next(path for path in (store, *store.parents) if path.exists())
    usage = shutil.disk_usage(there)
    full = usage.free < GIB
    said = f"{usage.free / GIB:.0f} GiB free for {store}"
    yield Finding("machine", "disk", said, full, "name another disk with --store FOLDER", suites)


def _needs_gpu(suite: Suite) -> bool:
    """Whether some job of `suite` would take too long without a GPU for anyone to mean it."""
    return any(map(needs_gpu, make_plan(suite, config.read_card(suite.dataset), suite.base_model).jobs))


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Find the packages that this project requires, and those of each extra.

    A checkout states them in setup.cfg, which may be newer than the metadata of an editable installation.
    """
    if CHECKOUT is not None and (CHECKOUT / "setup.cfg").is_file():
        setup = configparser.ConfigParser()
        setup.read(CHECKOUT / "setup.cfg")
        extras = {name: lines.split() for name, lines in setup["options.extras_require"].items()}
        return setup["options"]["install_requires"].split(), extras
    installed = metadata("terrabench")
    stated = [Requirement(line) for line in installed.get_all("Requires-Dist") or []]
    required = [str(one) for one in stated if one.marker is None]
    return required, {
        extra: [str(one).partition(";")[0] for one in stated if _only_with(one, extra)]
        for extra in installed.get_all("Provides-Extra") or []
    }


def _only_with(requirement: Requirement, extra: str) -> bool:
    """Whether an installation needs `requirement` for `extra` alone."""
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _packages(suites: Sequence[Suite]) -> Iterator[Finding]:
    """What this project requires, and its extras, of which suites need bitsandbytes for an 8-bit Adam."""
    required, extras = _requirements()
    here = f"{Path(sys.executable).name} -m pip install"
    for line in required:
        names = tuple(suite.name for suite in suites)
        yield _package(Requirement(line), f"{here} '{line}'", "package", names)
    for extra, wanted in extras.items():
        get = f"{here} {' '.join(repr(line) for line in wanted)}"
        absent = [found.what for line in wanted if (found := _package(Requirement(line))).missing]
        said = f"without {', '.join(absent)}" if absent else "installed"
        named = (
            suite.name for suite in suites if _finetunes(suite) and suite.finetune.optimizer == "adamw8bit"
        )
        yield Finding("extra", extra, said, bool(absent), get, tuple(named) if extra == "gpu" else ())


def _finetunes(suite: Suite) -> bool:
    """Whether any augmentation of `suite` is made by an adapter."""
    return any(suite.adapter_of(name) is not None for name in suite.augmentations)


def _package(wanted: Requirement, get: str = "", group: str = "", suites: tuple[str, ...] = ()) -> Finding:
    """Whether a package is there, in a version that will do."""
    try:
        there = version(wanted.name)
    except PackageNotFoundError:
        return Finding(group, wanted.name, "not installed", True, get, suites)
    fits = wanted.specifier.contains(there, prereleases=True)
    said = there if fits else f"{there}, but {wanted.specifier} is needed"
    return Finding(group, wanted.name, said, not fits, get, suites)


def _weights(suites: Sequence[Suite]) -> Iterator[Finding]:
    """The base models, the image encoders and the pretrained backbones that suites name."""
    models: dict[str, list[str]] = {}
    vaes: dict[str, list[str]] = {}
    encoders: dict[str, list[str]] = {}
    backbones: dict[str, list[str]] = {}
    for suite in suites:
        if set(suite.augmentations) - {"none"}:
            models.setdefault(config.base_model_path(suite.base_model), []).append(suite.name)
            if suite.base_model.vae is not None:
                vaes.setdefault(suite.base_model.vae, []).append(suite.name)
        for where in {
            config.encoder_path(spec) for name in suite.augmentations if (spec := suite.adapter_of(name))
        }:
            if where is not None:
                encoders.setdefault(where, []).append(suite.name)
        for settings in {suite.train_settings(method) for method in suite.methods}:
            if settings.pretrained is not None and settings.backbone != SMALL:
                where = f"timm/{settings.backbone}" if settings.pretrained == HUB else settings.pretrained
                backbones.setdefault(where, []).append(suite.name)
    for where, names in models.items():
        yield _weight("base model", where, "model_index.json", tuple(names))
    for where, names in vaes.items():
        yield _weight("vae", where, "config.json", tuple(names))
    for where, names in encoders.items():
        yield _weight("image encoder", where, "model.safetensors", tuple(names))
    for where, names in backbones.items():
        yield _weight("backbone", where, "model.safetensors", tuple(dict.fromkeys(names)))


def _weight(group: str, where: str, file: str, suites: tuple[str, ...]) -> Finding:
    """Weights at a path, or of the hub in its cache; `file` is one that they have in any case."""
    from huggingface_hub import try_to_load_from_cache

    path = Path(where)
    if path.is_file() or (path / file).is_file():
        return Finding(group, where, "in place", suites=suites)
    if path.is_absolute() or where.startswith(".") or where.count("/") != 1:
        get = (
            "put it there, or restore it with `git checkout`"
            if CHECKOUT and path.is_relative_to(CHECKOUT)
            else "put it there"
        )
        return Finding(group, where, "no such file or folder", True, get, suites)
    if isinstance(try_to_load_from_cache(where, file), str):
        return Finding(group, where, "in the cache of the hub", suites=suites)
    get = f"hf download {where}"
    if group == "base model":  # of all that is in its repository, the parts as safetensors alone
        python, kind = Path(sys.executable).name, "DiffusionPipeline"
        get = (
            f"{python} -c \"from diffusers import {kind}; {kind}.download('{where}', use_safetensors=True)\""
        )
    return Finding(group, where, "not in the cache of the hub", True, get, suites)


def _datasets(suites: Sequence[Suite]) -> Iterator[Finding]:
    """The data sets that there are cards of."""
    for name in yaml_files("datasets"):
        card = config.resolve_card(config.read_card(name))
        named = tuple(suite.name for suite in suites if suite.dataset == card.name)
        if isinstance(card, BuiltCard):
            yield Finding("data set", card.name, "made here, of installed packages", suites=named)
        elif isinstance(card, FolderCard) and card.content is not None:
            yield Finding("data set", card.name, f"in {config.data_folder(card.name)}", suites=named)
        else:
            get = f"{PROGRAM} datasets fetch {card.name}, or datasets import {card.name} FOLDER"
            yield Finding("data set", card.name, f"not in {config.data_folder(card.name)}", True, get, named)


def as_json(findings: list[Finding], suite: str) -> dict[str, Any]:
    """For machines: everything, and whether `suite` can be run."""
    return {
        "suite": suite,
        "ready": not wanting(findings, suite),
        "findings": [asdict(one) for one in findings],
    }


def described(findings: list[Finding], suite: str) -> str:
    """For people: a line each, what is missing with the command that gets it, and whether `suite` can be run."""
    lines = []
    for one in findings:
        mark = "--" if one.missing else "ok"
        lines.append(f"{mark} {one.group:<10} {one.what:<28} {one.found}")
        if one.missing:
            needed = f"   (for {', '.join(one.suites)})" if one.suites else ""
            lines.append(f"   {'':<10} get it: {one.get}{needed}")
    lacks = [
        one.what if one.group == "package" else f"{one.group} {one.what}" for one in wanting(findings, suite)
    ]
    lines.append(f"{suite}: {'lacks ' + ', '.join(lacks) if lacks else 'can be run'}")
    return "\n".join(lines)
