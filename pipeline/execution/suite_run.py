"""Make the artifacts of a plan that are missing, after all checks that can be made beforehand."""

import importlib
import importlib.util
from typing import Literal

from pipeline.config import SMALL
from pipeline.core.durations import spell_duration
from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.execution.progress import JobsDone, ProgressBars
from pipeline.execution.scheduler import Execute, Outcome, find_missing
from pipeline.execution.suite_plan import check_domains
from pipeline.planning import preflight
from pipeline.planning.graph import AnyPlan
from pipeline.planning.kinds.finetune import FinetuneParams
from pipeline.planning.kinds.t_predictor import TPredictorParams
from pipeline.planning.kinds.train import TrainParams

Executor = Literal["local", "ray"]


def run_plan(
    plan: AnyPlan,
    store: Store,
    *,
    executor: Executor = "local",
    workers: int | None = None,
    address: str | None = None,
    cpu: bool = False,
    quiet: bool = False,
    jobs_done: JobsDone | None = None,
) -> Outcome:
    """Make the artifacts of `plan` that are missing or damaged.

    Args:
        plan: A whole plan, or the part that `job_filter.pick` takes of it.
        store: The store of the artifacts.
        executor: `local` for processes of this machine, `ray` for a Ray cluster.
        workers: The most jobs at a time; None for as many as there are CPU cores and GPUs for.
        address: `HOST:PORT` of a Ray cluster, or `auto`; None for a Ray of this machine alone.
        cpu: Use no GPU, even for jobs that would take days without one.
        quiet: Show no progress on standard error.
        jobs_done: Called after each job.

    Raises:
        UserError: The jobs cannot be begun here; the sentence says what is missing.
    """
    with ProgressBars({}, 1, quiet=quiet) as bars:
        jobs = find_missing(plan.jobs, store, bars)
    check_backbones(jobs)
    check_domains(plan.card, jobs)
    if not jobs:
        return Outcome()
    module = importlib.import_module(f"pipeline.execution.{executor}_executor")
    with module.open_executor(workers, address, cpu=cpu) as capacity:
        return _make(plan, jobs, store, capacity, module.execute, cpu, quiet, jobs_done)


def _make(
    plan: AnyPlan,
    jobs: list[Job],
    store: Store,
    capacity: Capacity,
    execute: Execute,
    cpu: bool,
    quiet: bool,
    jobs_done: JobsDone | None,
) -> Outcome:
    """Announce how long `jobs` will take, and make them."""
    remarks = preflight.check(jobs, store, capacity, cpu=cpu)
    check_optimizer(jobs)
    several = preflight.at_a_time(jobs, capacity)
    expected = preflight.expected_seconds(jobs, store, capacity)
    with ProgressBars(expected, several, quiet=quiet, jobs_done=jobs_done) as bars:
        for remark in remarks:
            bars.noted(remark)
        bars.noted(
            f"{plan.suite.name}: {len(jobs)} of {len(plan.jobs)} jobs to make, {several} at a time; "
            f"about {spell_duration(bars.time_left())}"
        )
        return execute(jobs, store, capacity, bars)


def check_backbones(jobs: list[Job]) -> None:
    """Refuse a backbone that does not exist, before hours of work.

    Raises:
        UserError: There is no such backbone.
    """
    networks = [job.params for job in jobs if isinstance(job.params, TPredictorParams | TrainParams)]
    named = {params.settings.backbone for params in networks} - {SMALL}
    if named:
        from pipeline.backbones import check_backbone  # imports torch

        for name in sorted(named):
            check_backbone(name)


def check_optimizer(jobs: list[Job]) -> None:
    """Refuse an optimizer whose package is missing: it is made only after all images are encoded.

    Raises:
        UserError: The package is not installed.
    """
    finetunings = [job.params for job in jobs if isinstance(job.params, FinetuneParams)]
    wanted = any(params.settings.optimizer == "adamw8bit" for params in finetunings)
    if wanted and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "finetune.optimizer: adamw8bit needs bitsandbytes; pip install bitsandbytes, or take adamw"
        )
