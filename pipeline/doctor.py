"""Check what this machine has to run suites, and name the command that gets each missing thing."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pipeline import config
from pipeline.config import HUB, SMALL, AnySuite, BuiltCard, FolderCard
from pipeline.core import hardware
from pipeline.core.errors import UserError
from pipeline.core.paths import CHECKOUT, yaml_files
from pipeline.core.requirements import requirements
from pipeline.data.sources.instructions import commands
from pipeline.execution.suite_plan import faults_of
from pipeline.planning.cost import needs_gpu
from pipeline.planning.graph import make_plan
from pipeline.planning.network_sizes import GIB

PIP = f"{Path(sys.executable).name} -m pip install"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        group: The kind of thing: machine, package, extra, dataset, or a key of WEIGHTS_FILES.
        what: The thing that was checked.
        found: What the machine has of it.
        missing: Whether it is absent or unsuitable.
        get: The command or advice that gets it.
        suites: The names of the suites that need it.
    """

    group: str
    what: str
    found: str
    missing: bool = False
    get: str = ""
    suites: tuple[str, ...] = ()


def examine(store: Path, suites: Sequence[AnySuite]) -> list[Finding]:
    """Check the machine, the packages, the suites, and the weights and datasets that suites name.

    Args:
        store: The folder of artifacts, whose disk is checked for space.
        suites: The suites to check for.
    """
    needed = [*_weights(suites), *_datasets(suites)]
    return [
        *_machine(store, suites),
        *_packages(suites),
        *_broken_suites(),
        *_refused(suites, needed),
        *needed,
    ]


def known_suites() -> list[AnySuite]:
    """Read the suites under benchmarks/."""
    suites = []
    for name in yaml_files("benchmarks"):
        with suppress(UserError):  # the findings name a suite that cannot be read
            suites.append(config.read_suite(name))
    return suites


def _broken_suites() -> Iterator[Finding]:
    """Find the suites under benchmarks/ that cannot be read."""
    for name, path in yaml_files("benchmarks").items():
        try:
            config.read_suite(name)
        except UserError as error:
            yield Finding("suite", name, f"{path.name} cannot be used", True, f"correct it: {error}")


def _refused(suites: Sequence[AnySuite], needed: Sequence[Finding]) -> Iterator[Finding]:
    """Find the suites that `plan` refuses, unless a finding of `needed` names the missing thing already."""
    absent = [finding for finding in needed if finding.missing]
    for suite in suites:
        for fault in faults_of(suite):
            if not any(finding.what in fault for finding in absent if suite.name in finding.suites):
                yield Finding(
                    "suite", suite.name, "cannot be planned", True, f"correct it: {fault}", (suite.name,)
                )


def wanting(findings: list[Finding], suite: str) -> list[Finding]:
    """Select what is missing for the suite called `suite`."""
    return [finding for finding in findings if finding.missing and suite in finding.suites]


def _machine(store: Path, suites: Sequence[AnySuite]) -> Iterator[Finding]:
    """Check Python, cores, memory, GPUs and disk."""
    names = _names(suites)
    old = sys.version_info < (3, 11)
    yield Finding("machine", "python", platform.python_version(), old, "install Python 3.11 or newer", names)
    yield Finding("machine", "system", platform.platform(terse=True))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield Finding("machine", "cpu", f"{hardware.cpus()} cores, {memory / GIB:.0f} GiB of memory")
    yield from _gpus(suites)
    existing = next(path for path in (store, *store.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / GIB:.0f} GiB free for {store}"
    yield Finding("machine", "disk", found, free < GIB, "name another disk with --store FOLDER", names)


def _gpus(suites: Sequence[AnySuite]) -> Iterator[Finding]:
    """Check the GPUs, whether torch can use them, and which suites need one."""
    gpus = hardware.gpus()
    for gpu in gpus:
        yield Finding("machine", "gpu", f"{gpu.name}, {gpu.gib:.0f} GiB")
    if not gpus:
        needing = _names(suite for suite in suites if _needs_gpu(suite))
        advice = (
            "use a machine with a GPU, or a cluster by --executor ray; or run with --cpu, or with "
            "base_model: {name: mini, resolution: 32}"
        )
        found = "none that nvidia-smi lists: jobs run on the CPU"
        yield Finding("machine", "gpu", found, bool(needing), advice if needing else "", needing)
    elif importlib.util.find_spec("torch"):
        import torch

        usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
        found = f"torch {torch.__version__} can use {usable} of {len(gpus)} GPUs"
        advice = "install the build of torch for your driver: https://pytorch.org/get-started/locally"
        yield Finding("machine", "torch on gpu", found, usable != len(gpus), advice)


def _names(suites: "Sequence[AnySuite] | Iterator[AnySuite]") -> tuple[str, ...]:
    return tuple(suite.name for suite in suites)


def _needs_gpu(suite: AnySuite) -> bool:
    """Tell whether some job of `suite` takes days without a GPU."""
    try:
        card = config.read_card(suite.dataset)
        return any(map(needs_gpu, make_plan(suite, card, suite.base_model).jobs))
    except UserError:  # the findings name what is wrong with the card or the suite
        return False


def _packages(suites: Sequence[AnySuite]) -> Iterator[Finding]:
    """Check the required packages and the extras; an 8-bit Adam needs the extra `gpu`."""
    required, extras = requirements()
    for line in required:
        yield _package(Requirement(line), f"{PIP} '{line}'", "package", _names(suites))
    needing = _names(suite for suite in suites if "adamw8bit" in suite.optimizers)
    for extra, lines in extras.items():
        command = f"{PIP} {' '.join(repr(line) for line in lines)}"
        absent = [one.what for line in lines if (one := _package(Requirement(line))).missing]
        found = f"without {', '.join(absent)}" if absent else "installed"
        yield Finding("extra", extra, found, bool(absent), command, needing if extra == "gpu" else ())


def _package(
    requirement: Requirement, get: str = "", group: str = "", suites: tuple[str, ...] = ()
) -> Finding:
    """Check that a package is installed in a suitable version."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return Finding(group, requirement.name, "not installed", True, get, suites)
    suitable = requirement.specifier.contains(installed, prereleases=True)
    found = installed if suitable else f"{installed}, but {requirement.specifier} is needed"
    return Finding(group, requirement.name, found, not suitable, get, suites)


WEIGHTS_FILES = {
    "base model": "model_index.json",
    "vae": "config.json",
    "image encoder": "model.safetensors",
    "backbone": "model.safetensors",
    "zero-shot": "config.json",
}
"""The kinds of weights in the order of the checks, and a file that every folder of a kind contains."""

FOLDERS_ONLY = ("base model", "vae", "zero-shot")
"""The kinds of weights that are loaded from folders, never from a single file."""


def _weights(suites: Sequence[AnySuite]) -> Iterator[Finding]:
    """Check the base models, image encoders and pretrained backbones that suites name."""
    users: dict[tuple[str, str], list[str]] = {}
    for suite in suites:
        for weights in _weights_of(suite):
            users.setdefault(weights, []).append(suite.name)
    for group, file in WEIGHTS_FILES.items():
        for (its_group, location), names in users.items():
            if its_group == group:
                yield _weights_at(group, location, file, tuple(names))


def _weights_of(suite: AnySuite) -> dict[tuple[str, str], None]:
    """List group and location of the weights that `suite` loads, each once, in order."""
    weights: list[tuple[str, str]] = []
    if suite.uses_base_model:
        weights.append(("base model", config.base_model_path(suite.base_model)))
        vae = config.vae_path(suite.base_model)
        if vae is not None:
            weights.append(("vae", vae))
    for encoder in map(config.encoder_path, suite.used_adapters):
        if encoder is not None:
            weights.append(("image encoder", encoder))
    zero_shot = (method.zero_shot for method in suite.classifiers)
    weights += [("zero-shot", config.expanded(one.model)) for one in zero_shot if one]
    for settings in suite.backbones:
        if settings.pretrained is not None and settings.backbone != SMALL:
            hub = settings.pretrained == HUB
            weights.append(("backbone", f"timm/{settings.backbone}" if hub else settings.pretrained))
    return dict.fromkeys(weights)


def _weights_at(group: str, location: str, file: str, suites: tuple[str, ...]) -> Finding:
    """Check for weights at a path, or in the cache of the hub.

    Args:
        group: The kind of weights.
        location: A path or a hub id.
        file: A file that the folder or repository of the weights contains.
        suites: The suites that need them.
    """
    from huggingface_hub import try_to_load_from_cache

    try:
        path = config.weights_file(location)
    except UserError as error:
        return Finding(group, location, "not installed", True, f"{error}", suites)
    if (path.is_file() and group not in FOLDERS_ONLY) or (path / file).is_file():
        return Finding(group, location, "in place", suites=suites)
    if path.is_file():
        advice = "convert it to a diffusers folder by from_single_file(...).save_pretrained(...)"
        return Finding(group, location, "a single file, not a folder", True, advice, suites)
    if path.is_absolute() or location.startswith(".") or location.count("/") != 1:
        advice = "put it there"
        if CHECKOUT and path.is_relative_to(CHECKOUT):
            advice += ", or restore it with `git checkout`"
        return Finding(group, location, "no such file or folder", True, advice, suites)
    if isinstance(try_to_load_from_cache(location, file), str):
        return Finding(group, location, "in the cache of the hub", suites=suites)
    command = f"hf download {location}"
    if group == "base model":  # download the safetensors files alone, not all formats
        call = f"DiffusionPipeline.download('{location}', use_safetensors=True)"
        command = f'{Path(sys.executable).name} -c "from diffusers import DiffusionPipeline; {call}"'
    return Finding(group, location, "not in the cache of the hub", True, command, suites)


def _datasets(suites: Sequence[AnySuite]) -> Iterator[Finding]:
    """Check which datasets are in place."""
    for name, path in yaml_files("datasets").items():
        users = _names(suite for suite in suites if suite.dataset == name)
        try:
            card = config.resolve_card(config.read_card(name))
        except UserError as error:
            found = f"{path.name} cannot be used"
            yield Finding("dataset", name, found, True, f"correct it: {error}", users)
            continue
        if isinstance(card, BuiltCard):
            yield Finding("dataset", card.name, "built here, from installed packages", suites=users)
        elif isinstance(card, FolderCard) and card.content is not None:
            yield Finding("dataset", card.name, f"in {config.data_folder(card.name)}", suites=users)
        else:
            assert isinstance(card, FolderCard)
            found = f"not in {config.data_folder(card.name)}"
            yield Finding("dataset", card.name, found, True, commands(card), users)


def as_json(findings: list[Finding], suite: str) -> dict[str, Any]:
    """Return all findings, and whether `suite` can be run, as JSON values."""
    return {
        "suite": suite,
        "ready": not wanting(findings, suite),
        "findings": [asdict(finding) for finding in findings],
    }


def described(findings: list[Finding], suite: str) -> str:
    """Describe the findings, the command for each missing thing, and whether `suite` can be run."""
    lines = []
    for finding in findings:
        mark = "--" if finding.missing else "ok"
        lines.append(f"{mark} {finding.group:<10} {finding.what:<28} {finding.found}")
        if finding.missing:
            needed = f"   (for {', '.join(finding.suites)})" if finding.suites else ""
            lines.append(f"   {'':<10} get it: {finding.get}{needed}")
    lacks = [
        finding.what if finding.group == "package" else f"{finding.group} {finding.what}"
        for finding in wanting(findings, suite)
    ]
    lines.append(f"{suite}: {'lacks ' + ', '.join(lacks) if lacks else 'can be run'}")
    return "\n".join(lines)
