"""Walks a plan on a Ray cluster: each job is a Ray task that says which cores and GPU it takes.

Ray finds the node, and runs a job elsewhere whose worker or node is lost. All nodes see one store, on a shared folder,
and have this project at the same path, or installed. `prepare`d data and products never pass through Ray.
"""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import hardware
from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store, write_atomic
from pipeline.execution.progress_channel import Address, Inbox, telling
from pipeline.execution.scheduler import Outcome, Walk, Watcher
from pipeline.execution.worker import Message, attempt, see
from pipeline.planning.cost import cpus, processes, takes_gpu

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

RETRIES = 3
"""How often Ray runs a job again whose worker process or node is lost."""

POLL = 0.3
"""Seconds between two looks at what the workers say."""

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
}
"""For a Ray that is started here: nothing is sent to its makers, a task without a GPU hides them itself (worker.see),
and jobs give way to other work on the machine no more than without Ray."""


@contextmanager
def opened(workers: int | None, address: str | None, *, cpu: bool) -> Iterator[Capacity]:
    """Be connected to the cluster at `address` (auto: the one this machine is of), or to a Ray of this machine alone.

    Yields what the cluster has; with `cpu`, no GPU of it is used. UserError if Ray is not installed or not there.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError(
            "the executor ray needs Ray, which is not installed: pip install 'terrabench[cluster]'"
        ) from error
    os.environ.update(SETTINGS)
    at_terminate = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        cores, gpus = hardware.cpus(), () if cpu else hardware.gpus()
        ray.init("local", num_cpus=cores, num_gpus=len(gpus), include_dashboard=False, **quiet)
    else:
        try:
            ray.init(address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"no Ray cluster answers at {address} ({str(error).splitlines()[0]}); start one there with "
                "`ray start --head`, or leave --address out to use this machine alone"
            ) from error
        cores, gpus = _of_cluster(ray.nodes())
    signal.signal(signal.SIGTERM, at_terminate)  # Ray has put its own in its place
    try:
        yield Capacity(cores, () if cpu else gpus, workers)
    finally:
        ray.shutdown()


def _of_cluster(nodes: list[dict[str, Any]]) -> tuple[int, tuple[hardware.Gpu, ...]]:
    """(cores of the largest node, all GPUs) of a cluster; Ray does not know how much memory a GPU has."""
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    named = [
        name.partition(":")[2] for one in resources for name in one if name.startswith("accelerator_type:")
    ]
    kind = named[0] if named else "a GPU of the cluster"
    gpus = sum(int(one.get("GPU", 0)) for one in resources)
    cores = max(int(one.get("CPU", 0)) for one in resources)
    return max(1, cores), (hardware.Gpu("", kind, float("inf")),) * gpus


def make_there(job: Job, root: Path, on_gpu: bool, driver: Address) -> Message:
    """What a Ray task does: carry out `job`, and tell the driver how it goes."""
    if not on_gpu:
        see(())
    try:
        with telling(driver, job.key) as say:
            say(Message("begun", f"{socket.gethostname()}, process {os.getpid()}"))
            return attempt(job, Store(root), say)
    except UserError as error:
        return Message("failed", str(error))


def sees(marker: Path) -> bool:
    """Whether a node has the store of the driver."""
    return marker.exists()


class RayWalk(Walk):
    """A walk by tasks of a cluster. Jobs whose inputs are made wait in Ray's queue for cores and GPUs."""

    def __init__(self, todo: list[Job], store: Store, capacity: Capacity, watcher: Watcher) -> None:
        super().__init__(todo, store, watcher)
        import ray

        self.ray, self.capacity = ray, capacity
        self.here = ray.get_runtime_context().get_node_id()
        self.inbox = Inbox(ray.util.get_node_ip_address())
        self.pending: dict[ObjectRef, Job] = {}
        self.begun: dict[str, Job] = {}

    @staticmethod
    def on_node(node: str) -> "NodeAffinitySchedulingStrategy":
        """On that node, or not at all."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=False)

    def check_shared(self) -> None:
        """UserError if another node does not see the store."""
        nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in self.ray.nodes() if node["Alive"]}
        marker = self.store.root / "work" / f"shared-{os.getpid()}"
        write_atomic(marker, "")
        look = self.ray.remote(num_cpus=0)(sees)
        try:
            for node in nodes.keys() - {self.here}:
                if not self.ray.get(look.options(scheduling_strategy=self.on_node(node)).remote(marker)):
                    raise UserError(
                        f"node {nodes[node]} does not see the store {self.store.root}; name a folder that all nodes "
                        "share with --store FOLDER"
                    )
        finally:
            marker.unlink(missing_ok=True)

    def hand_out(self) -> None:
        """Let Ray have every job that is ready, or as many as may be under way together."""
        while self.capacity.workers is None or len(self.pending) < self.capacity.workers:
            job = self.next_job(lambda job: True)
            if job is None:
                return
            on_gpu = bool(self.capacity.gpus) and takes_gpu(job)
            wanted = processes(job) if on_gpu else 0
            task = self.ray.remote(
                num_cpus=min(cpus(job), self.capacity.cpus), num_gpus=wanted, max_retries=RETRIES
            )(make_there)
            self.pending[
                task.options(name=job.label).remote(job, self.store.root, on_gpu, self.inbox.address)
            ] = job

    def listen(self) -> None:
        """Take what the workers have said. A job that begins for the second time has lost its worker."""
        jobs = {job.key: job for job in self.pending.values()}
        for key, message in self.inbox.take():
            job = jobs.get(key)
            if job is None:
                continue  # said before it was lost, and heard when it was over
            if message.what != "begun":
                self.hear(job, message)
            elif key in self.begun:
                self.watcher.retried(job, f"its worker was lost; it is made again by {message.text}")
                self.begin(job)
            else:
                self.begun[key] = job
                self.begin(job)

    def end(self, job: Job, ref: "ObjectRef") -> None:
        """Take what became of a job."""
        try:
            message = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            message = Message(
                "failed", f"Ray gave it up after {1 + RETRIES} tries: {reason}", detail=str(error)
            )
        if job.key not in self.begun:
            self.begin(job)
        self.hear(job, message)

    def go(self) -> Outcome:
        """Walk to the end. Whatever ends it early, its tasks are ended and their jobs can be gone on with."""
        self.check_shared()
        try:
            self.hand_out()
            while self.pending:
                ended, _ = self.ray.wait(list(self.pending), timeout=POLL)
                self.listen()
                for ref in ended:
                    self.end(self.pending.pop(ref), ref)
                self.hand_out()
        finally:
            for ref in self.pending:
                self.ray.cancel(ref, force=True)
            self.inbox.close()
        return self.outcome


def walk(todo: list[Job], store: Store, capacity: Capacity, watcher: Watcher) -> Outcome:
    """Make the artifacts of `todo`, which stands in an order in which inputs come first; within `opened`."""
    return RayWalk(todo, store, capacity, watcher).go() if todo else Outcome()
