"""What both executors share: which job may start next, and how each job ended.

An executor is a module with two functions: `open_executor` yields the capacity for jobs, and `execute` makes
artifacts (local_executor.py, ray_executor.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.execution.worker import Message


class Watcher(Protocol):
    """Receives the events of a run, such as a progress display (progress.py)."""

    def started(self, job: Job) -> None:
        """Handle the start of `job` on a worker."""

    def retried(self, job: Job, why: str) -> None:
        """Handle the loss of the worker that had `job`, which starts again."""

    def progressed(self, job: Job, message: Message) -> None:
        """Handle a progress message of `job`."""

    def finished(self, job: Job) -> None:
        """Handle the end of `job`, whose artifact is in the store."""

    def failed(self, job: Job, reason: str, detail: str) -> None:
        """Handle the failure of `job`; `detail` may hold a traceback."""

    def noted(self, text: str) -> None:
        """Handle a line of text for the user."""


@dataclass
class Outcome:
    """How the jobs of a run ended.

    Attributes:
        made: jobs whose artifacts were made.
        failed: the reason of each failure, by the job's key.
        skipped: jobs that were not tried because a job they depend on failed.
    """

    made: list[Job] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[Job] = field(default_factory=list)


Execute = Callable[[list[Job], Store, Capacity, Watcher], Outcome]
"""The type of an executor's `execute`."""


def find_missing(jobs: list[Job], store: Store, watcher: Watcher) -> list[Job]:
    """Find the jobs without an artifact in the store.

    A damaged artifact is reported to `watcher`, deleted, and counts as missing.
    """
    found = []
    for job in jobs:
        if store.has(job.kind, job.key):
            damage = store.damage(job.kind, job.key)
            if damage is None:
                continue
            watcher.noted(f"{store.path(job.kind, job.key)} ({job.label}): {damage}; it is made again")
            store.discard(job.kind, job.key)
        found.append(job)
    return found


class Scheduler:
    """Tracks which jobs are waiting, made, failed and skipped.

    Args:
        jobs: the jobs to make, each after the jobs it depends on.
        store: the store that receives the artifacts.
        watcher: receives the events.
    """

    def __init__(self, jobs: list[Job], store: Store, watcher: Watcher) -> None:
        self.waiting, self.store, self.watcher = list(jobs), store, watcher
        self.unfinished = {job.key for job in jobs}
        self.outcome = Outcome()

    def take_ready(self, fits: Callable[[Job], bool]) -> Job | None:
        """Take the first waiting job that `fits` and whose inputs exist; skip jobs whose inputs failed."""
        for job in list(self.waiting):
            inputs = {needed.key for needed in job.inputs.values()}
            if inputs & (self.outcome.failed.keys() | {skipped.key for skipped in self.outcome.skipped}):
                self.waiting.remove(job)
                self.outcome.skipped.append(job)
            elif not inputs & self.unfinished and fits(job):
                self.waiting.remove(job)
                return job
        return None

    def start(self, job: Job) -> None:
        """Note that `job` starts on a worker."""
        self.store.note_failure(job.kind, job.key, None)
        self.watcher.started(job)

    def fail(self, job: Job, reason: str, detail: str = "") -> None:
        """Note that `job` failed; jobs that do not depend on it continue."""
        self.outcome.failed[job.key] = reason
        self.store.note_failure(job.kind, job.key, reason)
        self.watcher.failed(job, reason, detail)

    def handle(self, job: Job, message: Message) -> None:
        """Act on a worker's message about `job`.

        Raises:
            UserError: the worker asks for the whole run to stop.
        """
        if message.event == "progress":
            self.watcher.progressed(job, message)
        elif message.event == "remark":
            self.watcher.noted(f"{job.label}: {message.text}")
        elif message.event == "stop":
            raise UserError(f"{message.text}; stopped, and nothing half-written counts as done")
        elif message.event == "failed":
            self.fail(job, message.text, message.detail)
        else:
            self.unfinished.discard(job.key)
            self.outcome.made.append(job)
            self.watcher.finished(job)

    def close(self) -> Outcome:
        """Return how the jobs ended, once no worker has a job.

        Raises:
            RuntimeError: jobs are left that were neither made nor failed nor skipped.
        """
        if self.waiting:
            left = ", ".join(job.label for job in self.waiting)
            raise RuntimeError(f"the executor ended with {len(self.waiting)} jobs not started: {left}")
        return self.outcome
