"""Run jobs in worker processes of this machine, one job per worker at a time.

Each GPU belongs to one worker, which receives only jobs that need a GPU; the other workers see no GPU. Which
device a job runs on therefore follows from the job and the machine, not from which worker is idle. A job that
needs several GPUs also uses those of other workers while these are idle.
"""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from pipeline.core import hardware
from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.execution.scheduler import Outcome, Scheduler, Watcher
from pipeline.execution.worker import serve_jobs
from pipeline.planning.cost import cpus, processes, takes_gpu

ATTEMPTS = 2
"""How many times a job is tried when its worker process dies."""

CONTEXT = multiprocessing.get_context("spawn")


@contextmanager
def open_executor(workers: int | None, address: str | None, *, cpu: bool) -> Iterator[Capacity]:
    """Yield what this machine has for jobs.

    Args:
        workers: the most jobs at a time; None allows as many as fit.
        address: the address of a cluster, which must be None here.
        cpu: whether to use no GPU.
    """
    if address is not None:
        raise UserError(f"--address {address} is for --executor ray")
    yield Capacity(hardware.cpus(), () if cpu else hardware.gpus(), workers)


@dataclass
class Worker:
    """A worker process.

    Attributes:
        process: the process.
        connection: sends jobs to the process and receives its messages.
        gpu: the UUID of the worker's own GPU, if it has one.
        job: the job under way.
        job_gpus: the UUIDs of the GPUs that the job uses.
    """

    process: BaseProcess
    connection: Connection
    gpu: str | None
    job: Job | None = None
    job_gpus: tuple[str, ...] = ()


class LocalScheduler(Scheduler):
    """Hands jobs to worker processes of this machine."""

    def __init__(self, jobs: list[Job], store: Store, capacity: Capacity, watcher: Watcher) -> None:
        super().__init__(jobs, store, watcher)
        self.capacity, self.tries = capacity, dict.fromkeys(self.unfinished, 0)
        limit = capacity.workers or capacity.cpus
        gpu_jobs = sum(map(self.needs_gpu, jobs))
        gpus: list[str | None] = [gpu.uuid for gpu in capacity.gpus[: min(gpu_jobs, limit)]]
        cpu_workers = min(len(jobs) - gpu_jobs, limit, capacity.cpus)
        self.workers = [self.start_worker(gpu) for gpu in [*gpus, *[None] * cpu_workers]]

    def needs_gpu(self, job: Job) -> bool:
        """Return whether `job` runs on a GPU of this machine."""
        return bool(self.capacity.gpus) and takes_gpu(job)

    def start_worker(self, gpu: str | None) -> Worker:
        """Start a worker process that owns `gpu`."""
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=serve_jobs, args=(theirs, self.store.root), daemon=True)
        process.start()
        theirs.close()
        return Worker(process, ours, gpu)

    def under_way(self) -> list[Job]:
        """Return the jobs under way."""
        return [worker.job for worker in self.workers if worker.job]

    def fits(self, worker: Worker, job: Job) -> bool:
        """Return whether `worker` may start `job` now; a job that wants more cores than exist runs alone."""
        under_way = self.under_way()
        free = self.capacity.cpus - sum(map(cpus, under_way))
        if self.needs_gpu(job) != (worker.gpu is not None) or (under_way and cpus(job) > free):
            return False
        return worker.gpu is None or len(self.free_gpus(job, worker)) == self.gpu_count(job)

    def gpu_count(self, job: Job) -> int:
        """Return how many GPUs `job` gets; one that wants more than exist gets all, and reports the error."""
        return min(processes(job), len(self.capacity.gpus))

    def free_gpus(self, job: Job, worker: Worker) -> tuple[str, ...]:
        """Choose free GPUs for `job`: the worker's own, then others; none while another job uses its own."""
        taken = {gpu for other in self.workers if other.job for gpu in other.job_gpus}
        if worker.gpu is None or worker.gpu in taken:
            return ()
        others = [gpu.uuid for gpu in self.capacity.gpus if gpu.uuid not in {worker.gpu, *taken}]
        return (worker.gpu, *others)[: self.gpu_count(job)]

    def hand_out(self) -> None:
        """Give ready jobs to idle workers, up to the most jobs at a time."""
        for index in range(len(self.workers)):
            if len(self.under_way()) == self.capacity.workers:
                return
            worker = self.workers[index]
            if worker.job is not None:
                continue
            job = self.take_ready(partial(self.fits, worker))
            if job is None:
                continue
            if not worker.process.is_alive():  # killed while it was idle
                worker = self.workers[index] = self.start_worker(worker.gpu)
            worker.job, worker.job_gpus = job, self.free_gpus(job, worker)
            self.tries[job.key] += 1
            self.start(job)
            with suppress(ConnectionError):  # a worker that dies only now is replaced when it is listened to
                worker.connection.send((job, worker.job_gpus))

    def listen(self, worker: Worker) -> None:
        """Take one message of `worker`, or replace it if it has died."""
        job = worker.job
        assert job is not None
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self.replace(worker, job)
            return
        if message.ends_job:
            worker.job = None
        self.handle(job, message)

    def replace(self, worker: Worker, job: Job) -> None:
        """Replace a worker that died with `job`, which is tried again from its last checkpoint."""
        worker.process.join()
        reason = f"its worker process died (exit code {worker.process.exitcode})"
        self.workers[self.workers.index(worker)] = self.start_worker(worker.gpu)
        if self.tries[job.key] < ATTEMPTS:
            self.watcher.retried(job, reason)
            self.waiting.insert(0, job)
        else:
            self.fail(job, f"{reason} {ATTEMPTS} times; too little memory, or --workers too high?")

    def run(self) -> Outcome:
        """Run until no job is left; whatever ends the run early, workers stop and their jobs can resume."""
        try:
            self.hand_out()
            while busy := [worker for worker in self.workers if worker.job]:
                ready = wait([worker.connection for worker in busy])
                for worker in busy:
                    if worker.connection in ready:
                        self.listen(worker)
                self.hand_out()
        finally:
            for worker in self.workers:
                if worker.job is None:
                    with suppress(ConnectionError):  # it has died meanwhile
                        worker.connection.send(None)
                else:
                    worker.process.terminate()
            for worker in self.workers:
                worker.process.join()
        return self.close()


def execute(jobs: list[Job], store: Store, capacity: Capacity, watcher: Watcher) -> Outcome:
    """Make the artifacts of `jobs`, which are ordered so that each job follows its inputs."""
    return LocalScheduler(jobs, store, capacity, watcher).run() if jobs else Outcome()
