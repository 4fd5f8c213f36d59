"""Walks a plan on this machine: a few worker processes, each with one job at a time."""

import multiprocessing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from pipeline.errors import UserError
from pipeline.execution.worker import Message, serve
from pipeline.plan import Job
from pipeline.store import Store

ATTEMPTS = 2
"""How often a job is tried whose worker process dies under it."""


class Watcher(Protocol):
    """Who is told how the walk goes (see pipeline/execution/progress.py)."""

    def started(self, job: Job) -> None: ...
    def progressed(self, job: Job, message: Message) -> None: ...
    def finished(self, job: Job) -> None: ...
    def failed(self, job: Job, reason: str, detail: str) -> None: ...
    def noted(self, text: str) -> None: ...


@dataclass
class Worker:
    """A worker process and the job it has."""

    process: BaseProcess
    connection: Connection
    job: Job | None = None


@dataclass
class Outcome:
    """How a walk ended."""

    made: list[Job] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Key of a job that failed -> why."""
    skipped: list[Job] = field(default_factory=list)
    """Jobs not tried, for one that they stand on failed."""


def missing(jobs: list[Job], store: Store, watcher: Watcher, *, thorough: bool = False) -> list[Job]:
    """The jobs whose artifacts are not there; a damaged artifact is named, taken away, and counts as missing."""
    todo = []
    for job in jobs:
        if store.has(job.kind, job.key):
            damage = store.damage(job.kind, job.key, thorough=thorough)
            if damage is None:
                continue
            watcher.noted(f"{store.path(job.kind, job.key)} ({job.label}): {damage}; it is made again")
            store.discard(job.kind, job.key)
        todo.append(job)
    return todo


class Walk:
    """One walk over the jobs that are missing."""

    def __init__(self, todo: list[Job], root: Path, workers: int, watcher: Watcher) -> None:
        self.waiting, self.store, self.watcher = list(todo), Store(root), watcher
        self.unmade = {job.key for job in todo}
        self.tries: dict[str, int] = {}
        self.outcome = Outcome()
        self.context = multiprocessing.get_context("spawn")
        self.workers = [self.hire() for _ in range(min(workers, len(todo)))]

    def hire(self) -> Worker:
        """A new worker process."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=serve, args=(theirs, self.store.root), daemon=True)
        process.start()
        theirs.close()
        return Worker(process, ours)

    def next_job(self) -> Job | None:
        """The first waiting job whose inputs are all made; those that stand on a failed one are dropped."""
        for job in list(self.waiting):
            needed = {i.key for i in job.inputs.values()}
            if needed & (self.outcome.failed.keys() | {s.key for s in self.outcome.skipped}):
                self.waiting.remove(job)
                self.outcome.skipped.append(job)
            elif not needed & self.unmade:
                self.waiting.remove(job)
                return job
        return None

    def hand_out(self) -> None:
        """Give every idle worker a job, if one is ready."""
        for worker in self.workers:
            if worker.job is None:
                job = self.next_job()
                if job is None:
                    return
                worker.job = job
                self.tries[job.key] = self.tries.get(job.key, 0) + 1
                self.store.note_failure(job.kind, job.key, None)
                self.watcher.started(job)
                worker.connection.send(job)

    def fail(self, job: Job, reason: str, detail: str = "") -> None:
        """Note that `job` can't be made; the others go on."""
        self.outcome.failed[job.key] = reason
        self.store.note_failure(job.kind, job.key, reason)
        self.watcher.failed(job, reason, detail)

    def hear(self, worker: Worker) -> None:
        """Take one message of a worker that has something to say, or has died."""
        job = worker.job
        assert job is not None
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self.replace(worker, job)
            return
        if message.what == "progress":
            self.watcher.progressed(job, message)
            return
        worker.job = None
        if message.what == "stop":
            raise UserError(f"{message.text}; stopped, and nothing half-written counts as done")
        if message.what == "failed":
            self.fail(job, message.text, message.detail)
        else:
            self.unmade.discard(job.key)
            self.outcome.made.append(job)
            self.watcher.finished(job)

    def replace(self, worker: Worker, job: Job) -> None:
        """Another worker for one that died; its job is tried again, from its last checkpoint."""
        worker.process.join()
        died = f"its worker process died (exit code {worker.process.exitcode})"
        self.workers[self.workers.index(worker)] = self.hire()
        if self.tries[job.key] < ATTEMPTS:
            self.watcher.noted(f"{job.label}: {died}; trying again")
            self.waiting.insert(0, job)
        else:
            self.fail(job, f"{died} {ATTEMPTS} times; too little memory, or --workers too high?")

    def go(self) -> Outcome:
        """Walk to the end. Whatever ends it early, the workers are stopped and their jobs can be gone on with."""
        try:
            self.hand_out()
            while busy := {worker.connection: worker for worker in self.workers if worker.job}:
                for connection in wait(list(busy)):
                    self.hear(busy[connection])
                self.hand_out()
        finally:
            for worker in self.workers:
                if worker.job is None and worker.process.is_alive():
                    worker.connection.send(None)
                else:
                    worker.process.terminate()
            for worker in self.workers:
                worker.process.join()
        return self.outcome


def walk(todo: list[Job], store: Store, workers: int, watcher: Watcher) -> Outcome:
    """Make the artifacts of `todo`, which stands in an order in which inputs come first."""
    return Walk(todo, store.root, workers, watcher).go() if todo else Outcome()
