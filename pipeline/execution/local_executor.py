"""Walks a plan on this machine: a few worker processes, each with one job at a time.

A GPU belongs to one worker, which is given the jobs that take a GPU; the other workers see none. So what a job is
made on follows from the job and the machine, and not from which worker is idle. A job that wants several GPUs gets
those of its worker and of others that are idle meanwhile.
"""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from pipeline.core import hardware
from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.execution.scheduler import Outcome, Walk, Watcher
from pipeline.execution.worker import serve
from pipeline.planning.cost import cpus, processes, takes_gpu

ATTEMPTS = 2
"""How often a job is tried whose worker process dies under it."""

CONTEXT = multiprocessing.get_context("spawn")


@contextmanager
def opened(workers: int | None, address: str | None, *, cpu: bool) -> Iterator[Capacity]:
    """What this machine has for jobs; with `cpu`, no GPU of it is used. address: of a cluster, so None."""
    if address is not None:
        raise UserError(f"--address {address} is for --executor ray")
    yield Capacity(hardware.cpus(), () if cpu else hardware.gpus(), workers)


@dataclass
class Worker:
    """A worker process, the GPU that it has, the job in hand, and the GPUs that this one has."""

    process: BaseProcess
    connection: Connection
    gpu: str | None
    job: Job | None = None
    lent: tuple[str, ...] = ()


class LocalWalk(Walk):
    """A walk by processes of this machine."""

    def __init__(self, todo: list[Job], store: Store, capacity: Capacity, watcher: Watcher) -> None:
        super().__init__(todo, store, watcher)
        self.capacity, self.tries = capacity, dict.fromkeys(self.unmade, 0)
        most = capacity.workers or capacity.cpus
        on_gpu = sum(map(self.on_gpu, todo))
        uuids: list[str | None] = [gpu.uuid for gpu in capacity.gpus[: min(on_gpu, most)]]
        plain = min(len(todo) - on_gpu, most, capacity.cpus)
        self.workers = [self.hire(gpu) for gpu in [*uuids, *[None] * plain]]

    def on_gpu(self, job: Job) -> bool:
        """Whether `job` is made on a GPU here."""
        return bool(self.capacity.gpus) and takes_gpu(job)

    def hire(self, gpu: str | None) -> Worker:
        """A new worker process."""
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=serve, args=(theirs, self.store.root), daemon=True)
        process.start()
        theirs.close()
        return Worker(process, ours, gpu)

    def under_way(self) -> list[Job]:
        """The jobs in hand."""
        return [worker.job for worker in self.workers if worker.job]

    def fits(self, job: Job, worker: Worker) -> bool:
        """Whether `worker` may begin `job` now. One that wants more cores than there are is made alone."""
        busy = self.under_way()
        free = self.capacity.cpus - sum(map(cpus, busy))
        if self.on_gpu(job) != (worker.gpu is not None) or (busy and cpus(job) > free):
            return False
        return worker.gpu is None or len(self.gpus_for(job, worker)) == self.wanted(job)

    def wanted(self, job: Job) -> int:
        """How many GPUs `job` is given: one that wants more than there are gets all, and says what is wrong."""
        return min(processes(job), len(self.capacity.gpus))

    def gpus_for(self, job: Job, worker: Worker) -> tuple[str, ...]:
        """That of `worker`, and as many more as `job` wants; fewer if they are not free, none if its own is not."""
        taken = {gpu for other in self.workers if other.job for gpu in other.lent}
        own = [gpu for gpu in [worker.gpu] if gpu is not None and gpu not in taken]
        more = [gpu.uuid for gpu in self.capacity.gpus if gpu.uuid not in {worker.gpu, *taken}]
        return tuple([*own, *more][: self.wanted(job)]) if own else ()

    def hand_out(self) -> None:
        """Give idle workers the jobs that are ready, as many as may be under way together."""
        for worker in self.workers:
            if len(self.under_way()) == self.capacity.workers:
                return
            if worker.job is None:
                job = self.next_job(lambda job, worker=worker: self.fits(job, worker))
                if job is not None:
                    worker.lent = self.gpus_for(job, worker)
                    worker.job = job
                    self.tries[job.key] += 1
                    self.begin(job)
                    worker.connection.send((job, worker.lent))

    def listen(self, worker: Worker) -> None:
        """Take one message of a worker that has something to say, or has died."""
        job = worker.job
        assert job is not None
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self.replace(worker, job)
            return
        if message.over:
            worker.job = None
        self.hear(job, message)

    def replace(self, worker: Worker, job: Job) -> None:
        """Another worker for one that died; its job is tried again, from its last checkpoint."""
        worker.process.join()
        died = f"its worker process died (exit code {worker.process.exitcode})"
        self.workers[self.workers.index(worker)] = self.hire(worker.gpu)
        if self.tries[job.key] < ATTEMPTS:
            self.watcher.retried(job, died)
            self.waiting.insert(0, job)
        else:
            self.fail(job, f"{died} {ATTEMPTS} times; too little memory, or --workers too high?")

    def go(self) -> Outcome:
        """Walk to the end. Whatever ends it early, the workers are stopped and their jobs can be gone on with."""
        try:
            self.hand_out()
            while busy := {worker.connection: worker for worker in self.workers if worker.job}:
                for connection in wait(list(busy)):
                    self.listen(busy[connection])
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


def walk(todo: list[Job], store: Store, capacity: Capacity, watcher: Watcher) -> Outcome:
    """Make the artifacts of `todo`, which stands in an order in which inputs come first."""
    return LocalWalk(todo, store, capacity, watcher).go() if todo else Outcome()
