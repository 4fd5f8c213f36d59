"""What a plan will need as a whole, and whether this machine has it: said before anything starts. Imports no torch."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipeline.core.durations import spell_duration
from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.planning.cost import (
    CPU,
    GPU,
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
from pipeline.planning.graph import Plan
from pipeline.planning.network_sizes import GIB

GUESS = 60.0
"""Seconds of a job of a kind of which nothing is known."""


def device(capacity: Capacity) -> str:
    """What the jobs that take a GPU are made on."""
    return capacity.gpus[0].name if capacity.gpus else CPU


def at_a_time(jobs: Sequence[Job], capacity: Capacity) -> int:
    """How many of `jobs` may be under way together: as many as there are GPUs, if any takes one, else as cores allow."""
    if capacity.gpus and any(map(takes_gpu, jobs)):
        fit = max(1, len(capacity.gpus) // max(processes(job) for job in jobs))
    else:
        fit = max(1, capacity.cpus // max(map(cpus, jobs), default=1))
    return min(fit, capacity.workers or fit)


def expected(jobs: Sequence[Job], store: Store, capacity: Capacity) -> dict[Job, float]:
    """The seconds that each of `jobs` may take here."""
    estimator = Estimator(store, device(capacity))
    return {job: estimator.needs(job).seconds or GUESS for job in jobs}


def check(todo: Sequence[Job], store: Store, capacity: Capacity, *, cpu: bool) -> list[str]:
    """What is worth saying before `todo` is begun; UserError if it needs GPUs that are not there, and not `cpu`."""
    heavy = [job for job in todo if needs_gpu(job)]
    if heavy and not capacity.gpus and not cpu:
        seconds = sum(expected(heavy, store, capacity).values())
        raise UserError(
            f"{len(heavy)} of the {len(todo)} jobs to make need a GPU (such as {heavy[0].label}), and there is none "
            f"here: use a machine or a cluster (--executor ray) with one, or make them on the CPU with --cpu, in about "
            f"{spell_duration(seconds / at_a_time(heavy, capacity))}, or take smaller ones: base_model {{name: mini, "
            "resolution: 32}, fewer steps and iterations"
        )
    if not capacity.gpus:
        return []
    widest = max(filter(takes_gpu, todo), key=lambda job: processes(job), default=None)
    if widest is not None and processes(widest) > len(capacity.gpus):
        raise UserError(
            f"finetune.processes is {processes(widest)}, each with a GPU of its own, and there are "
            f"{len(capacity.gpus)} here; lower it, which changes results by rounding alone"
        )
    least = min(gpu.gib for gpu in capacity.gpus)
    largest: dict[str, Job] = {}
    for job in filter(takes_gpu, todo):
        largest[job.kind] = max(largest.get(job.kind, job), job, key=gpu_gib)
    return [
        f"{job.label} may need {gpu_gib(job):.0f} GiB of GPU memory, and {device(capacity)} has {least:.0f}; if it fails, "
        f"{memory_advice(job)}"
        for job in largest.values()
        if gpu_gib(job) > least
    ]


def describe(job: Job, needs: Needs, store: Store) -> dict[str, Any]:
    """One job for `plan --json`."""
    return {
        "kind": job.kind,
        "label": job.label,
        "key": job.key,
        "done": store.has(job.kind, job.key),
        "inputs": [needed.key for needed in job.inputs.values()],
        "needs": asdict(needs),
    }


def as_json(plan: Plan, store: Store, capacity: Capacity) -> dict[str, Any]:
    """The jobs, with what each needs on this machine, or on a stated GPU where it takes one and there is none."""
    estimator = Estimator(store, assumed(plan, capacity))
    jobs = [describe(job, estimator.needs(job), store) for job in plan.jobs]
    return {"suite": plan.suite.name, "device": estimator.device, "jobs": jobs}


def assumed(plan: Plan, capacity: Capacity) -> str:
    """The device that hours are told for."""
    return GPU if not capacity.gpus and any(map(needs_gpu, plan.jobs)) else device(capacity)


def described(plan: Plan, store: Store, capacity: Capacity) -> str:
    """The same for people: a line for each kind of job, of what is still to be made."""
    told = as_json(plan, store, capacity)
    lines = [
        f"{plan.suite.name}: {plan.suite.title}",
        f"{len(plan.tasks)} tasks: {', '.join(plan.tasks)}",
        f"{'':>12} {'jobs':>6} {'done':>6} {'hours':>8} {'disk GiB':>9} {'GPU GiB':>8}  rate",
    ]
    kinds = dict.fromkeys(job["kind"] for job in told["jobs"])
    for kind in [*kinds, "all"]:
        lines.append(_line(kind, [job for job in told["jobs"] if kind in (job["kind"], "all")]))
    todo = [job for job in plan.jobs if not store.has(job.kind, job.key)]
    return "\n".join([*lines, *_remarks(plan, todo, told, capacity), f"store: {store.root}"])


def _line(kind: str, jobs: list[dict[str, Any]]) -> str:
    """What the jobs of a kind come to: hours and disk of all that are not done, memory of the largest."""
    left = [job["needs"] for job in jobs if not job["done"]]
    hours = sum(needs["seconds"] or GUESS for needs in left) / 3600
    disk, most = sum(needs["disk"] for needs in left) / GIB, max((n["gpu_gib"] or 0 for n in left), default=0)
    rates = "" if kind == "all" else ", ".join(sorted({needs["rate"] for needs in left}))
    memory = f"{most:.1f}" if most else "-"
    return f"{kind:>12} {len(jobs):6} {len(jobs) - len(left):6} {hours:8.2f} {disk:9.2f} {memory:>8}  {rates}".rstrip()


def _remarks(plan: Plan, todo: list[Job], told: dict[str, Any], capacity: Capacity) -> list[str]:
    """What the table's numbers rest on."""
    if not todo:
        return ["all is done; `run` draws tables and plots alone"]
    on, rates = told["device"], {job["needs"]["rate"] for job in told["jobs"] if not job["done"]}
    seconds = sum(job["needs"]["seconds"] or GUESS for job in told["jobs"] if not job["done"])
    latents = max(map(scratch, todo)) / GIB
    remarks = [f"hours are those of one job after another{'' if on == CPU else f', on {on}'}"]
    if on == GPU and not capacity.gpus:
        remarks[0] += "; there is no GPU here, and `run` asks for one, or for --cpu"
    else:
        several = at_a_time(todo, capacity)
        remarks[0] += f"; {several} at a time here, about {spell_duration(seconds / several)}"
    if latents > 1:
        remarks.append(
            f"disk: a finetune under way keeps up to {latents:.0f} GiB of latents beside, and removes them"
        )
    meaning = {
        "measured": "measured: the median of finished jobs of the kind in this store, scaled to the work",
        "stated": "stated: 15e9 multiply-adds a second and core (digits on a server), 1e13 on a GPU (NVIDIA's figures for "
        "an A100), three times that in half precision; right within a factor of two or three",
        "unknown": f"unknown: taken for {GUESS:.0f} seconds a job",
    }
    return remarks + [text for rate, text in meaning.items() if rate in rates]
