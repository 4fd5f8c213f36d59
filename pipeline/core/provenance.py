"""Provenance: the versions of the code and the libraries, and the machine, that make an artifact."""

import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from pipeline import __version__
from pipeline.core.paths import ROOT

LIBRARIES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "timm",
    "skada",
    "dalib",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "opencv-python-headless",
    "numba",
)
"""The packages on which numbers or their speed depend."""


@cache
def provenance() -> dict[str, str]:
    """Return the names and versions in this process, without those that cannot be found out.

    `commit` is that of the checkout of the code, with `+` where files differ from it. `gpu` is the name of
    the GPU, if torch is imported and has one.
    """
    found = {"terrabench": __version__, "commit": _commit(ROOT), "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found["system"] = f"{platform.system()} {platform.machine()}"
    found |= {"processor": _processor(), "cores": str(os.cpu_count() or ""), "gpu": _gpu()}
    return {name: value for name, value in found.items() if value}


def _commit(root: Path) -> str:
    """Return the commit of the checkout at `root`; empty if it is no checkout, or git is not installed."""
    if not (root / ".git").exists():  # a folder within another checkout is not one itself
        return ""
    ask = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    """Return the name of the processor, which Python does not find on Linux."""
    try:
        named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        named = None
    return named[1] if named else platform.processor()


def _gpu() -> str:
    """Return the name of the GPU; empty if torch is not imported or has none."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else ""
