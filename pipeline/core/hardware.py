"""The CPU cores and GPUs of this machine that a run may use. Imports no torch."""

import os
import shutil
import subprocess
from dataclasses import dataclass

from pipeline.core.errors import UserError


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        uuid: Its UUID, which CUDA_VISIBLE_DEVICES takes.
        name: Its name, such as `NVIDIA A100`.
        gib: Its memory in GiB.
    """

    uuid: str
    name: str
    gib: float


@dataclass(frozen=True)
class Capacity:
    """What the jobs of a run may use together.

    Attributes:
        cpus: CPU cores.
        gpus: The GPUs.
        workers: How many jobs may be under way together; None for as many as cores and GPUs allow.
    """

    cpus: int
    gpus: tuple[Gpu, ...] = ()
    workers: int | None = None


def cpus() -> int:
    """Return the number of CPU cores that this process may use, as taskset, Slurm or a container limit it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that nvidia-smi lists; where CUDA_VISIBLE_DEVICES is set, those that it names.

    Raises:
        UserError: CUDA_VISIBLE_DEVICES names a GPU that does not exist.
    """
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    listing = subprocess.run(query, capture_output=True, text=True, check=False)
    if listing.returncode:  # a driver that is not loaded, or that has no GPU
        return ()
    found = {}
    for line in listing.stdout.splitlines():
        index, uuid, name, mib = (field.strip() for field in line.split(","))
        found[index] = Gpu(uuid, name, float(mib) / 1024)
    return _visible(found)


def _visible(found: dict[str, Gpu]) -> tuple[Gpu, ...]:
    """Return those of all GPUs `found`, by index, that CUDA_VISIBLE_DEVICES names."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(found.values())
    chosen = []
    for name in filter(None, (part.strip() for part in visible.split(","))):
        if name == "-1":
            break
        matching = [gpu for index, gpu in found.items() if index == name or gpu.uuid.startswith(name)]
        if len(matching) != 1:
            raise UserError(
                f"CUDA_VISIBLE_DEVICES is {visible!r}, but {name!r} is not one of the GPUs that "
                f"nvidia-smi lists: {', '.join(f'{index} ({gpu.uuid})' for index, gpu in found.items())}"
            )
        chosen += matching
    return tuple(chosen)
