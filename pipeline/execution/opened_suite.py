"""A suite that is opened to be planned, run and reported, and the outcome of a run."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import AnySuite, nearest
from pipeline.core.errors import UserError
from pipeline.core.store import Store
from pipeline.planning.graph import AnyPlan
from pipeline.planning.job_filter import pick


@dataclass(frozen=True)
class OpenedSuite:
    """A suite with its graph of jobs, its store, and its results folder; what `api.open_suite` returns.

    Attributes:
        suite: The suite as its file states it.
        plan: The graph of jobs, the tasks and the cells of the suite.
        store: The store of its artifacts.
        folder: Its results folder.
        file: The name or path by which the suite was opened.
        plugins: The plug-ins that declare methods of the suite.
    """

    suite: AnySuite
    plan: AnyPlan
    store: Store
    folder: Path
    file: str
    plugins: tuple[Path, ...] = ()

    def artifact(self, label: str) -> Path:
        """Return the folder of a finished job's artifact.

        Args:
            label: The job's label, as in the column `label` of `plan_suite`.

        Raises:
            UserError: There is no such job, or it is not finished.
        """
        jobs = {job.label: job for job in self.plan.jobs}
        if label not in jobs:
            raise UserError(f"{self.suite.name} has no job {label!r}; {nearest(label, jobs)}")
        job = jobs[label]
        if not self.store.has(job.kind, job.key):
            raise UserError(f"{label} is not finished; run the suite first")
        return self.store.path(job.kind, job.key)

    def part(self, only: str | None) -> AnyPlan:
        """Return the plan, or the part of it that `only` names, as the option `--only` does."""
        return self.plan if only is None else pick(self.plan, only)


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended, in labels of jobs.

    Attributes:
        made: The jobs whose artifacts were made.
        failed: The reason of every job that failed.
        skipped: The jobs that were not tried, because a job that they need failed.
    """

    made: list[str]
    failed: dict[str, str]
    skipped: list[str]
