"""`doctor`: what this machine has for running suites, and for what is missing the command that gets it."""

import configparser
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pipeline import config
from pipeline.config import HUB, SMALL, AnySuite, BuiltCard, FolderCard
from pipeline.core import hardware
from pipeline.core.paths import ROOT
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


def examine(store: Path, suites: Sequence[AnySuite]) -> list[Finding]:
    """All findings. store: the folder whose disk artifacts will be on; suites: those whose weights and data count."""
    return [*_machine(store, suites), *_packages(suites), *_weights(suites), *_datasets(suites)]


def known_suites() -> list[AnySuite]:
    """Return the suites under benchmarks/."""
    return [config.read_suite(path.stem) for path in sorted((ROOT / "benchmarks").glob("*.yaml"))]


def wanting(findings: list[Finding], suite: str) -> list[Finding]:
    """What is missing of what the suite of that name needs."""
    return [one for one in findings if one.missing and suite in one.suites]


def _machine(store: Path, named: Sequence[AnySuite]) -> Iterator[Finding]:
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


def _needs_gpu(suite: AnySuite) -> bool:
    """Whether some job of `suite` would take too long without a GPU for anyone to mean it."""
    return any(map(needs_gpu, make_plan(suite, config.read_card(suite.dataset), suite.base_model).jobs))


def _packages(suites: Sequence[AnySuite]) -> Iterator[Finding]:
    """What setup.cfg requires, and its extras, of which suites need bitsandbytes for an 8-bit Adam."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    here = f"{Path(sys.executable).name} -m pip install"
    for line in setup["options"]["install_requires"].split("\n"):
        if line:
            names = tuple(suite.name for suite in suites)
            yield _package(Requirement(line), f"{here} '{line}'", "package", names)
    for extra, lines in setup["options.extras_require"].items():
        wanted = [line for line in lines.split("\n") if line]
        get = f"{here} {' '.join(repr(line) for line in wanted)}"
        absent = [found.what for line in wanted if (found := _package(Requirement(line))).missing]
        said = f"without {', '.join(absent)}" if absent else "installed"
        named = (
            suite.name for suite in suites if "adamw8bit" in suite.optimizers
        )
        yield Finding("extra", extra, said, bool(absent), get, tuple(named) if extra == "gpu" else ())


def _package(wanted: Requirement, get: str = "", group: str = "", suites: tuple[str, ...] = ()) -> Finding:
    """Whether a package is there, in a version that will do."""
    try:
        there = version(wanted.name)
    except PackageNotFoundError:
        return Finding(group, wanted.name, "not installed", True, get, suites)
    fits = wanted.specifier.contains(there, prereleases=True)
    said = there if fits else f"{there}, but {wanted.specifier} is needed"
    return Finding(group, wanted.name, said, not fits, get, suites)


def _weights(suites: Sequence[AnySuite]) -> Iterator[Finding]:
    """The base models, the image encoders and the pretrained backbones that suites name."""
    models: dict[str, list[str]] = {}
    vaes: dict[str, list[str]] = {}
    encoders: dict[str, list[str]] = {}
    backbones: dict[str, list[str]] = {}
    for suite in suites:
        if suite.uses_base_model:
            models.setdefault(config.base_model_path(suite.base_model), []).append(suite.name)
            if suite.base_model.vae is not None:
                vaes.setdefault(suite.base_model.vae, []).append(suite.name)
        for where in {config.encoder_path(spec) for spec in suite.used_adapters}:
            if where is not None:
                encoders.setdefault(where, []).append(suite.name)
        for settings in suite.backbones:
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
            "put it there, or restore it with `git checkout`" if path.is_relative_to(ROOT) else "put it there"
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


def _datasets(suites: Sequence[AnySuite]) -> Iterator[Finding]:
    """The data sets that there are cards of."""
    for path in sorted(config.card_folder().glob("*.yaml")):
        card = config.resolve_card(config.read_card(path.stem))
        named = tuple(suite.name for suite in suites if suite.dataset == card.name)
        if isinstance(card, BuiltCard):
            yield Finding("data set", card.name, "made here, of installed packages", suites=named)
        elif isinstance(card, FolderCard) and card.content is not None:
            yield Finding("data set", card.name, f"in {config.data_folder(card.name)}", suites=named)
        else:
            get = f"run_benchmark.py datasets fetch {card.name}, or datasets import {card.name} FOLDER"
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
