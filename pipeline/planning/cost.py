"""What a job will need: CPU cores, a GPU and its memory, disk, and time. Imports no torch.

Time is work divided by speed. Each kind of job counts its work (pipeline/planning/kinds), mostly in
multiply-adds of the networks in use. The speed is that of finished jobs of the kind with the same network, if
any are in the store; else what `bench gpu` measured on the card; else it is stated (rates.py). An estimate
may be off by a factor of two: it is for deciding whether to start a suite, and on which machine.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any, Literal

from pydantic import ValidationError

from pipeline.core.errors import UserError
from pipeline.core.job import KINDS, Job
from pipeline.core.store import Store
from pipeline.planning.rates import CPU, CPU_CORE, CardRates, committed_rates, stated_on_gpu

GPU_FROM = 600.0
"""The duration on one CPU core, in seconds at the stated speed, above which a job takes a GPU."""

GPU_NEEDED_FROM = 6 * 3600.0
"""The same, above which a suite is not started without a GPU unless --cpu is given."""

SAMPLE = 40
"""How many artifacts of a kind are read for its measured speed."""


Rate = Literal["measured", "card", "stated", "unknown"]
"""Where a duration is from: finished jobs, `bench gpu` on the card, the stated speed, or nowhere."""


@dataclass(frozen=True)
class Needs:
    """What one job needs.

    Attributes:
        cpus: CPU cores.
        gpu_gib: GiB of GPU memory; None where it takes no GPU.
        disk: Bytes of its artifact.
        seconds: Its duration on the device in question; None where nothing is known of its kind.
        rate: Where the duration is from.
    """

    cpus: int
    gpu_gib: float | None
    disk: float
    seconds: float | None
    rate: Rate


def work(job: Job) -> float | None:
    """Return the work of a job in the unit of its kind, mostly multiply-adds; None where nothing is known."""
    kind = job.declaration
    return kind.work(job.params, kind.images(job.params, job.inputs))


def cpus(job: Job) -> int:
    """Return the CPU cores that a job keeps busy."""
    return job.declaration.cpus(job.params)


def processes(job: Job) -> int:
    """Return how many processes share a job, each with a GPU of its own, if the job takes any."""
    return job.declaration.processes(job.params)


def gpu_gib(job: Job) -> float:
    """Return GiB of GPU memory that a job needs, if it takes a GPU."""
    return job.declaration.gpu_gib(job.params)


def disk(job: Job) -> float:
    """Return the bytes of a job's artifact."""
    return job.declaration.disk(job.params, job.inputs)


def scratch(job: Job) -> float:
    """Return the bytes that a job keeps on the disk only while it is under way."""
    return job.declaration.scratch(job.params, job.inputs)


def takes_gpu(job: Job) -> bool:
    """Tell whether a job uses a GPU where there is one. This follows from its parameters alone."""
    return _seconds_on_one_core(job) > GPU_FROM


def needs_gpu(job: Job) -> bool:
    """Tell whether a job would take far too long without a GPU."""
    return _seconds_on_one_core(job) > GPU_NEEDED_FROM


def _seconds_on_one_core(job: Job) -> float:
    """Return the duration at the stated speed; 0 where it is unknown or no GPU would shorten it."""
    if job.declaration.units_per_second is not None:
        return 0.0
    return (work(job) or 0.0) / CPU_CORE


def memory_advice(job: Job) -> str:
    """Say which fields of the suite to change where GPU memory is too small, the least harmful first."""
    reductions = job.declaration.reductions(job.params)
    if not reductions:
        return "use a GPU with more memory"
    changes = [f"{one.field} ({one.value}, to {one.target or 'less'})" for one in reductions if one.possible]
    return f"change, in this order: {', '.join(changes)}"


class Estimator:
    """Estimates what jobs need on one device.

    Args:
        store: Where finished jobs are, whose durations are measurements.
        device: The name of a GPU, or CPU.
        rates: What was measured on that device; None for the file of it in results/rates, if there is one.
    """

    def __init__(self, store: Store, device: str, rates: CardRates | None = None) -> None:
        self.device, self.store = device, store
        self.rates = rates or committed_rates(device)
        self._measured: dict[str, dict[str, float]] = {}

    def needs(self, job: Job) -> Needs:
        """Return what `job` needs: on the device, if that is a GPU and the job takes one, else on the CPU."""
        on_gpu = self.device != CPU and takes_gpu(job)
        device = self.device if on_gpu else CPU
        amount = work(job)
        speed, rate = self._speed(job, device)
        seconds = None
        if amount is None:
            rate = "unknown"
        else:
            seconds = amount / speed / processes(job)
        return Needs(cpus(job), gpu_gib(job) if takes_gpu(job) else None, disk(job), seconds, rate)

    def _speed(self, job: Job, device: str) -> tuple[float, Rate]:
        """Return the work per second of one process of `job` on a device, and where it is from."""
        kind = job.declaration
        group = f"{kind.rate_group(job.params)} {device}"
        measured = self._measured_rates(job.kind).get(group)
        if measured is not None:
            return measured, "measured"
        if kind.units_per_second is not None:
            return kind.units_per_second, "stated"
        workload = kind.workload(job.params)
        cores: int = getattr(job.params, "threads", 1) if device == CPU else 1
        if self.rates is not None and self.rates.card == device:
            of_card = self.rates.rate(workload)
            if of_card is not None:
                return of_card * cores, "card"
        return (CPU_CORE * cores if device == CPU else stated_on_gpu(workload)), "stated"

    def _measured_rates(self, name: str) -> dict[str, float]:
        """Return the median work per second of finished jobs of a kind, by rate group and device."""
        if name not in self._measured:
            kind, found = KINDS[name], dict[str, list[float]]()
            for manifest in _manifests(self.store, name):
                try:
                    params = kind.params.model_validate(manifest.get("params"))
                except ValidationError:
                    continue  # an artifact of another version, whose parameters had another form
                images = sum(file.startswith("images/") for file in manifest["files"])
                amount = kind.work(params, images) or 0.0
                if amount:  # a manifest does not tell how many images a t-predictor learned from
                    rate = amount / max(manifest["seconds"], 1e-3) / kind.processes(params)
                    group = f"{kind.rate_group(params)} {manifest.get('device', CPU)}"
                    found.setdefault(group, []).append(rate)
            self._measured[name] = {group: median(rates) for group, rates in found.items()}
        return self._measured[name]


def _manifests(store: Store, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the manifests of some artifacts of a kind; damaged ones are left to `verify`."""
    folder = store.root / "artifacts" / kind
    for path in islice(folder.iterdir(), SAMPLE) if folder.is_dir() else ():
        with contextlib.suppress(UserError):
            yield store.manifest(kind, path.name)
