"""What a plan needs as a whole, and whether this machine has it. Imports no torch."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipeline.core.durations import spell_duration
from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.core.text import one_line
from pipeline.planning.cost import (
    Estimator,
    Needs,
    cpus,
    gpu_gib,
    memory_advice,
    needs_gpu,
    processes,
    scratch,
    takes_gpu,
)
from pipeline.planning.graph import AnyPlan
from pipeline.planning.network_sizes import GIB
from pipeline.planning.rates import CPU, GPU, CardRates

GUESS = 60.0
"""Seconds that a job is taken to last where nothing is known of its kind."""

MEANINGS = {
    "measured": "measured: the median of finished jobs of the kind in this store, scaled to the work",
    "card": "card: from the speed that `bench gpu` measured on that card, scaled to the work",
    "stated": "stated: 15e9 multiply-adds per second and core (digits on a server), 1e13 on an A100, and in "
    "half precision 19 to 51 % of its peak of 1.56e14, by network; right within a factor of two",
    "unknown": f"unknown: taken to be {GUESS:.0f} seconds for each job",
}
"""What the sources of an estimate mean."""


def device(capacity: Capacity) -> str:
    """Return the device of the jobs that take a GPU."""
    return capacity.gpus[0].name if capacity.gpus else CPU


def at_a_time(jobs: Sequence[Job], capacity: Capacity) -> int:
    """Return how many of `jobs` can be under way together.

    They are as many as there are GPUs, if any of them takes one, and otherwise as many as the cores allow.
    """
    if capacity.gpus and any(map(takes_gpu, jobs)):
        fit = max(1, len(capacity.gpus) // max(map(processes, jobs)))
    else:
        fit = max(1, capacity.cpus // max(map(cpus, jobs), default=1))
    return min(fit, capacity.workers or fit)


def expected_seconds(jobs: Sequence[Job], store: Store, capacity: Capacity) -> dict[Job, float]:
    """Return how long each of `jobs` is expected to last on this machine."""
    estimator = Estimator(store, device(capacity))
    return {job: estimator.needs(job).seconds or GUESS for job in jobs}


def check(todo: Sequence[Job], store: Store, capacity: Capacity, *, cpu: bool) -> list[str]:
    """Compare what jobs need with what this machine has, before they are started.

    Args:
        todo: The jobs that are not finished.
        store: Where finished jobs are, whose durations are measurements.
        capacity: What this machine has.
        cpu: Whether the user accepts jobs on the CPU that need a GPU.

    Returns:
        Warnings about GPU memory, a sentence for each kind of job.

    Raises:
        UserError: The jobs need GPUs that do not exist here.
    """
    heavy = [job for job in todo if needs_gpu(job)]
    if heavy and not capacity.gpus and not cpu:
        seconds = sum(expected_seconds(heavy, store, capacity).values())
        duration = spell_duration(seconds / at_a_time(heavy, capacity))
        raise UserError(
            f"{len(heavy)} of the {len(todo)} jobs to make need a GPU (such as {heavy[0].label}), and there "
            "is none here: use a machine or a cluster (--executor ray) with one, or make them on the CPU "
            f"with --cpu, in about {duration}, or take smaller ones: base_model "
            f"{{name: mini, resolution: 32}}, fewer steps and iterations"
        )
    if not capacity.gpus:
        return []
    _check_processes(todo, capacity)
    available = min(gpu.gib for gpu in capacity.gpus)
    largest: dict[str, Job] = {}
    for job in filter(takes_gpu, todo):
        largest[job.kind] = max(largest.get(job.kind, job), job, key=gpu_gib)
    return [
        f"{job.label} may need {gpu_gib(job):.0f} GiB of GPU memory, and {device(capacity)} has "
        f"{available:.0f}; if it fails, {memory_advice(job)}"
        for job in largest.values()
        if gpu_gib(job) > available
    ]


def _check_processes(todo: Sequence[Job], capacity: Capacity) -> None:
    """Raise UserError if a job is shared by more processes than there are GPUs."""
    widest = max(filter(takes_gpu, todo), key=processes, default=None)
    if widest is not None and (most := processes(widest)) > len(capacity.gpus):
        raise UserError(
            f"{widest.kind}.processes is {most}, each with a GPU of its own, and there are "
            f"{len(capacity.gpus)} here; lower it, which changes results only by rounding"
        )


def describe(job: Job, needs: Needs, store: Store) -> dict[str, Any]:
    """Return what `plan --json` prints of one job."""
    return {
        "kind": job.kind,
        "label": job.label,
        "key": job.key,
        "done": store.has(job.kind, job.key),
        "inputs": [needed.key for needed in job.inputs.values()],
        "needs": asdict(needs),
    }


def as_json(
    plan: AnyPlan, store: Store, capacity: Capacity, rates: CardRates | None = None
) -> dict[str, Any]:
    """Return the jobs of a plan, with what each needs on the card of `rates`, or else on `assumed_device`."""
    estimator = Estimator(store, rates.card if rates else assumed_device(plan, capacity), rates)
    jobs = [describe(job, estimator.needs(job), store) for job in plan.jobs]
    return {"suite": plan.suite.name, "device": estimator.device, "jobs": jobs}


def assumed_device(plan: AnyPlan, capacity: Capacity) -> str:
    """Return the device that hours are for: a stated GPU, if a job needs one and there is none here."""
    return GPU if not capacity.gpus and any(map(needs_gpu, plan.jobs)) else device(capacity)


def as_text(plan: AnyPlan, store: Store, capacity: Capacity, rates: CardRates | None = None) -> str:
    """Return a table of what a plan needs, with a line for each kind of job."""
    table = as_json(plan, store, capacity, rates)
    jobs = table["jobs"]
    lines = [
        f"{plan.suite.name}: {one_line(plan.suite.title)}",
        f"{_count(len(plan.compared), plan.compared_unit)}: {', '.join(plan.compared)}",
        f"{'':>12} {'jobs':>6} {'done':>6} {'hours':>8} {'disk GiB':>9} {'GPU GiB':>8}  rate",
    ]
    for kind in dict.fromkeys(job["kind"] for job in jobs):
        lines.append(_line(kind, [job for job in jobs if job["kind"] == kind], with_rates=True))
    lines.append(_line("all", jobs, with_rates=False))
    todo = [job for job in plan.jobs if not store.has(job.kind, job.key)]
    return "\n".join([*lines, *_remarks(plan, todo, table, capacity), f"store: {store.root}"])


def _count(number: int, unit: str) -> str:
    """Return a number with its unit."""
    return f"{number} {unit}{'s' * (number != 1)}"


def _line(name: str, jobs: list[dict[str, Any]], *, with_rates: bool) -> str:
    """Return a line of the table: hours and disk of all jobs that are not done, and memory of the largest."""
    left = [job["needs"] for job in jobs if not job["done"]]
    hours = sum(needs["seconds"] or GUESS for needs in left) / 3600
    disk = sum(needs["disk"] for needs in left) / GIB
    largest = max((needs["gpu_gib"] or 0 for needs in left), default=0)
    memory = f"{largest:.1f}" if largest else "-"
    rates = ", ".join(sorted({needs["rate"] for needs in left})) if with_rates else ""
    counts = f"{name:>12} {len(jobs):6} {len(jobs) - len(left):6}"
    return f"{counts} {hours:8.2f} {disk:9.2f} {memory:>8}  {rates}".rstrip()


def _remarks(plan: AnyPlan, todo: list[Job], table: dict[str, Any], capacity: Capacity) -> list[str]:
    """Return the sentences below the table, which say what its numbers rest on."""
    if not todo:
        return ["everything is done; `run` only draws tables and plots"]
    left = [job["needs"] for job in table["jobs"] if not job["done"]]
    seconds = sum(needs["seconds"] or GUESS for needs in left)
    on_device = "" if table["device"] == CPU else f", on {table['device']}"
    hours = f"hours are those of one job after another{on_device}"
    if table["device"] != device(capacity) and not capacity.gpus:
        hours += "; there is no GPU here, and `run` asks for one, or for --cpu"
    else:
        several = at_a_time(todo, capacity)
        hours += f"; {several} at a time here, about {spell_duration(seconds / several)}"
    remarks = [hours]
    latents = max(map(scratch, todo)) / GIB
    if latents > 1:
        remarks.append(
            f"disk: a finetune under way keeps up to {latents:.0f} GiB of latents in addition, and removes "
            "them"
        )
    rates = {needs["rate"] for needs in left}
    return remarks + [meaning for rate, meaning in MEANINGS.items() if rate in rates]
