"""What numbers and their times depend on beside the settings: the code, the libraries, the machine."""

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
)


@cache
def made_with() -> dict[str, str]:
    """Names and versions as they are in this process; what cannot be told is left out.

    commit: of the checkout that the code is in, `+` behind it where files differ from that commit. gpu: if
        torch is
    imported and sees one.
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
    """The commit of the checkout at `root`, empty if it is none or there is no git."""
    if not (root / ".git").exists():  # a folder within somebody else's checkout is none
        return ""
    ask = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    """The processor's name: Linux keeps it where Python does not look."""
    try:
        named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        named = None
    return named[1] if named else platform.processor()


def _gpu() -> str:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else ""
