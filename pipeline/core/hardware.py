"""What this machine has: CPU cores and GPUs that a run may use. Imports no torch, so that it answers at once."""

import os
import shutil
import subprocess
from dataclasses import dataclass

from pipeline.core.errors import UserError


@dataclass(frozen=True)
class Gpu:
    """One GPU: its UUID, which CUDA_VISIBLE_DEVICES takes, its name and its memory in GiB."""

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
    """CPU cores that this process may use: fewer than the machine's under taskset, Slurm or in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that nvidia-smi lists, of which CUDA_VISIBLE_DEVICES, if it is set, names those that may be used."""
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    said = subprocess.run(query, capture_output=True, text=True, check=False)
    if said.returncode:  # a driver without a GPU, or one that is not loaded
        return ()
    found = {}
    for line in said.stdout.splitlines():
        index, uuid, name, mib = (field.strip() for field in line.split(","))
        found[index] = Gpu(uuid, name, float(mib) / 1024)
    return _visible(found)


def _visible(found: dict[str, Gpu]) -> tuple[Gpu, ...]:
    """Of the GPUs `found`, by index, those that CUDA_VISIBLE_DEVICES names, in its order; by index or start of a UUID."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(found.values())
    chosen = []
    for name in filter(None, (part.strip() for part in visible.split(","))):
        if name == "-1":
            break
        of_name = [gpu for index, gpu in found.items() if index == name or gpu.uuid.startswith(name)]
        if len(of_name) != 1:
            raise UserError(
                f"CUDA_VISIBLE_DEVICES is {visible!r}, but {name!r} is none of the GPUs that nvidia-smi "
                f"lists: {', '.join(f'{index} ({gpu.uuid})' for index, gpu in found.items())}"
            )
        chosen += of_name
    return tuple(chosen)
