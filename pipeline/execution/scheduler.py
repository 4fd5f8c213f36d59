"""What both executors share: which job may be made next, and what became of those that were tried.

An executor is a function `walk(todo, store, capacity, watcher) -> Outcome` (local.py, ray.py).
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
    """Who is told how the walk goes (see pipeline/execution/progress.py)."""

    def started(self, job: Job) -> None: ...
    def retried(self, job: Job, why: str) -> None: ...
    def progressed(self, job: Job, message: Message) -> None: ...
    def finished(self, job: Job) -> None: ...
    def failed(self, job: Job, reason: str, detail: str) -> None: ...
    def noted(self, text: str) -> None: ...


@dataclass
class Outcome:
    """How a walk ended."""

    made: list[Job] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Key of a job that failed -> why."""
    skipped: list[Job] = field(default_factory=list)
    """Jobs not tried, for one that they stand on failed."""


Walker = Callable[[list[Job], Store, Capacity, Watcher], Outcome]
"""What an executor's `walk` is."""


def missing(jobs: list[Job], store: Store, watcher: Watcher) -> list[Job]:
    """The jobs whose artifacts are not there; a damaged artifact is named, taken away, and counts as missing."""
    todo = []
    for job in jobs:
        if store.has(job.kind, job.key):
            damage = store.damage(job.kind, job.key)
            if damage is None:
                continue
            watcher.noted(f"{store.path(job.kind, job.key)} ({job.label}): {damage}; it is made again")
            store.discard(job.kind, job.key)
        todo.append(job)
    return todo


class Walk:
    """One walk over the jobs that are missing, which stand in an order in which inputs come first."""

    def __init__(self, todo: list[Job], store: Store, watcher: Watcher) -> None:
        self.waiting, self.store, self.watcher = list(todo), store, watcher
        self.unmade = {job.key for job in todo}
        self.outcome = Outcome()

    def next_job(self, fits: Callable[[Job], bool]) -> Job | None:
        """The first waiting job that `fits` and whose inputs are all made; those that stand on a failed one are dropped."""
        for job in list(self.waiting):
            needed = {i.key for i in job.inputs.values()}
            if needed & (self.outcome.failed.keys() | {s.key for s in self.outcome.skipped}):
                self.waiting.remove(job)
                self.outcome.skipped.append(job)
            elif not needed & self.unmade and fits(job):
                self.waiting.remove(job)
                return job
        return None

    def begin(self, job: Job) -> None:
        """`job` is handed to a worker."""
        self.store.note_failure(job.kind, job.key, None)
        self.watcher.started(job)

    def fail(self, job: Job, reason: str, detail: str = "") -> None:
        """Note that `job` can't be made; the others go on."""
        self.outcome.failed[job.key] = reason
        self.store.note_failure(job.kind, job.key, reason)
        self.watcher.failed(job, reason, detail)

    def hear(self, job: Job, message: Message) -> None:
        """Take what a worker says of the job that it has."""
        if message.what == "progress":
            self.watcher.progressed(job, message)
        elif message.what == "remark":
            self.watcher.noted(f"{job.label}: {message.text}")
        elif message.what == "stop":
            raise UserError(f"{message.text}; stopped, and nothing half-written counts as done")
        elif message.what == "failed":
            self.fail(job, message.text, message.detail)
        else:
            self.unmade.discard(job.key)
            self.outcome.made.append(job)
            self.watcher.finished(job)
