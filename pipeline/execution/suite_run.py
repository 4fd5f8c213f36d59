"""Make the artifacts of a plan that are missing, after all checks that can be made beforehand."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Literal

from pipeline.config import SMALL
from pipeline.core.durations import spell_duration
from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.execution.progress import Bars
from pipeline.execution.scheduler import Outcome, Walker, missing
from pipeline.planning import preflight
from pipeline.planning.graph import Plan
from pipeline.planning.kinds.finetune import FinetuneParams
from pipeline.planning.kinds.t_predictor import TPredictorParams
from pipeline.planning.kinds.train import TrainParams
from pipeline.planning.morphs import MorphPlan

Executor = Literal["local", "ray"]

JobsDone = Callable[[int, int, str], None]
"""Called after each job with the number of jobs that are over, the number of all, and the job's label."""


def run_plan(
    plan: Plan | MorphPlan,
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
    with Bars({}, 1, quiet=quiet) as bars:
        todo = missing(plan.jobs, store, bars)
    check_backbones(todo)
    if not todo:
        return Outcome()
    carried_out_by = importlib.import_module(f"pipeline.execution.{executor}_executor")
    with carried_out_by.opened(workers, address, cpu=cpu) as capacity:
        return _make(plan, todo, store, capacity, carried_out_by.walk, cpu, quiet, jobs_done)


def _make(
    plan: Plan | MorphPlan,
    todo: list[Job],
    store: Store,
    capacity: Capacity,
    walk: Walker,
    cpu: bool,
    quiet: bool,
    jobs_done: JobsDone | None,
) -> Outcome:
    """Say what is to come, and make `todo`."""
    remarks = preflight.check(todo, store, capacity, cpu=cpu)
    check_optimizer(todo)
    several = preflight.at_a_time(todo, capacity)
    with _CountedBars(preflight.expected(todo, store, capacity), several, quiet, jobs_done) as bars:
        for remark in remarks:
            bars.noted(remark)
        bars.noted(
            f"{plan.suite.name}: {len(todo)} of {len(plan.jobs)} jobs to make, {several} at a time; "
            f"about {spell_duration(bars.time_left())}"
        )
        return walk(todo, store, capacity, bars)


class _CountedBars(Bars):
    """Progress bars that also call a function after each job."""

    def __init__(
        self, expected: dict[Job, float], workers: int, quiet: bool, jobs_done: JobsDone | None
    ) -> None:
        super().__init__(expected, workers, quiet=quiet)
        self.jobs_done = jobs_done

    def _count(self, job: Job) -> None:
        if self.jobs_done is not None:
            self.jobs_done(self.total - len(self.expected), self.total, job.label)

    def finished(self, job: Job) -> None:
        """Count a job whose artifact is in place."""
        super().finished(job)
        self._count(job)

    def failed(self, job: Job, reason: str, detail: str) -> None:
        """Count a job that failed."""
        super().failed(job, reason, detail)
        self._count(job)


def check_backbones(todo: list[Job]) -> None:
    """Refuse a backbone that does not exist, before hours of work.

    Raises:
        UserError: There is no such backbone.
    """
    networks = [job.params for job in todo if isinstance(job.params, TPredictorParams | TrainParams)]
    named = {params.settings.backbone for params in networks} - {SMALL}
    if named:
        from pipeline.backbones import check_backbone  # imports torch

        for name in sorted(named):
            check_backbone(name)


def check_optimizer(todo: list[Job]) -> None:
    """Refuse an optimizer whose package is missing: it is made only after all images are encoded.

    Raises:
        UserError: The package is not installed.
    """
    finetunings = [job.params for job in todo if isinstance(job.params, FinetuneParams)]
    wanted = any(params.settings.optimizer == "adamw8bit" for params in finetunings)
    if wanted and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "finetune.optimizer: adamw8bit needs bitsandbytes; pip install bitsandbytes, or take adamw"
        )
