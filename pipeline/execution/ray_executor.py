"""Run jobs as tasks of a Ray cluster; each task states the cores and GPUs it uses.

Ray finds a node for each job, and runs a job again elsewhere if its worker or node is lost. All nodes see one
store in a shared folder, and have this project at the same path or installed. No artifact passes through Ray.
"""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import hardware
from pipeline.core.errors import UserError
from pipeline.core.hardware import Capacity
from pipeline.core.job import Job
from pipeline.core.store import Store, write_atomic
from pipeline.execution.scheduler import Outcome, Scheduler, Watcher
from pipeline.execution.worker import Message, run_job, set_visible_gpus
from pipeline.planning.cost import cpus, processes, takes_gpu

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

RETRIES = 3
"""How many times Ray runs a job again when its worker process or node is lost."""

POLL = 0.3
"""Seconds between two collections of the workers' messages."""

CONNECT_TIMEOUT = 30.0
"""Seconds within which the head of a cluster must accept a connection."""

DELIVERY_TIMEOUT = 30.0
"""Seconds that a task waits until its messages are delivered."""

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
}
"""Environment of a Ray that is started here: no usage statistics, GPUs hidden by `worker.set_visible_gpus`
alone, and workers with the priority of an ordinary process."""


@contextmanager
def open_executor(workers: int | None, address: str | None, *, cpu: bool) -> Iterator[Capacity]:
    """Connect to a Ray cluster, or start Ray on this machine, and yield what it has for jobs.

    Args:
        workers: the most jobs at a time; None allows as many as fit.
        address: `HOST:PORT` of the cluster's head, `auto` for the cluster this machine belongs to, or None to
            start Ray on this machine alone.
        cpu: whether to use no GPU.

    Raises:
        UserError: Ray is not installed, can't start, or can't be reached.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError(
            "the executor ray needs Ray, which is not installed: pip install 'terrabench[cluster]'"
        ) from error
    os.environ.update(SETTINGS)
    on_terminate = signal.getsignal(signal.SIGTERM)
    if address is None:
        cores, gpus = hardware.cpus(), () if cpu else hardware.gpus()
        _start_ray(cores, len(gpus))
    else:
        _connect(address)
        cores, gpus = _cluster_capacity(ray.nodes())
    signal.signal(signal.SIGTERM, on_terminate)  # Ray has replaced the handler
    try:
        yield Capacity(cores, () if cpu else gpus, workers)
    finally:
        ray.shutdown()


def _start_ray(cores: int, gpus: int) -> None:
    """Start Ray on this machine alone."""
    import ray

    try:
        ray.init(
            "local",
            num_cpus=cores,
            num_gpus=gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except OSError as error:
        if "AF_UNIX path length" not in str(error):
            raise
        folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
        raise UserError(
            f"the temporary folder {folder} has too long a path for Ray's sockets; set RAY_TMPDIR to a "
            "shorter one, such as RAY_TMPDIR=/tmp"
        ) from error


def _connect(address: str) -> None:
    """Connect to the Ray cluster at `address`; where nothing listens, Ray alone would try for 20 minutes."""
    import ray

    host, colon, port = address.rpartition(":")
    try:
        if colon and port.isdecimal() and "/" not in host:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}); start one there with `ray start --head`, or "
            "leave --address out to use this machine alone"
        ) from error
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"can't join the Ray cluster at {address} ({reason}); start one with `ray start --head`, set "
            "RAY_AUTH_MODE=token and copy ~/.ray/auth_token to this machine if the cluster asks for a token, "
            "or leave --address out to use this machine alone"
        ) from error


def _cluster_capacity(nodes: list[dict[str, Any]]) -> tuple[int, tuple[hardware.Gpu, ...]]:
    """Return the cores of a cluster's largest node, and all its GPUs, whose memory Ray does not know."""
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    prefix = "accelerator_type:"
    names = [name.removeprefix(prefix) for one in resources for name in one if name.startswith(prefix)]
    gpu = hardware.Gpu("", names[0] if names else "a GPU of the cluster", float("inf"))
    cores = max(int(one.get("CPU", 0)) for one in resources)
    return max(1, cores), (gpu,) * sum(int(one.get("GPU", 0)) for one in resources)


class Mailbox:
    """Holds the messages of jobs under way until the driver takes them; a Ray actor that uses no core."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, Message]] = []

    def put(self, key: str, message: Message) -> None:
        """Add a message about the job with `key`."""
        self._messages.append((key, message))

    def take(self) -> list[tuple[str, Message]]:
        """Remove and return all messages, in the order in which they came."""
        messages, self._messages = self._messages, []
        return messages


def run_task(job: Job, root: Path, on_gpu: bool, mailbox: Any) -> Message:
    """Carry out `job` as a Ray task.

    Args:
        job: the job.
        root: the root folder of the store.
        on_gpu: whether the job may see the GPUs that Ray gives the task.
        mailbox: the handle of the `Mailbox` actor.

    Returns:
        The job's last message. All earlier ones are in the mailbox by then.
    """
    from ray.exceptions import RayError

    if not on_gpu:
        set_visible_gpus(())
    started = Message("started", f"{socket.gethostname()}, process {os.getpid()}")
    delivered = mailbox.put.remote(job.key, started)

    def wait_for_delivery() -> None:
        # One task's calls arrive in order: the last one's arrival covers all. `ray.get` would lend the task's
        # cores to another task meanwhile. Without a mailbox no driver waits for messages.
        with suppress(RayError, TimeoutError):
            delivered.future().result(DELIVERY_TIMEOUT)

    def send(message: Message) -> None:
        nonlocal delivered
        delivered = mailbox.put.remote(job.key, message)

    wait_for_delivery()  # the driver recognises a lost worker by a second start
    result = run_job(job, Store(root), send)
    wait_for_delivery()
    return result


def file_exists(path: Path) -> bool:
    """Return whether the node that runs this sees the file `path`."""
    return path.exists()


class RayScheduler(Scheduler):
    """Hands jobs to Ray as tasks; jobs whose inputs exist wait in Ray's queue for cores and GPUs."""

    def __init__(self, jobs: list[Job], store: Store, capacity: Capacity, watcher: Watcher) -> None:
        super().__init__(jobs, store, watcher)
        import ray

        self.ray, self.capacity = ray, capacity
        self.driver_node = ray.get_runtime_context().get_node_id()
        self.mailbox: Any = (
            ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Mailbox)
            .options(scheduling_strategy=self.on_node(self.driver_node))
            .remote()
        )
        self.pending: dict[ObjectRef, Job] = {}
        self.started: set[str] = set()

    @staticmethod
    def on_node(node: str) -> "NodeAffinitySchedulingStrategy":
        """Return the strategy that runs a task on `node` or not at all."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=False)

    def check_store_is_shared(self) -> None:
        """Raise UserError if another node does not see the store."""
        nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in self.ray.nodes() if node["Alive"]}
        marker = self.store.root / "work" / f"shared-{os.getpid()}"
        write_atomic(marker, "")
        exists = self.ray.remote(num_cpus=0)(file_exists)
        try:
            for node in nodes.keys() - {self.driver_node}:
                task = exists.options(scheduling_strategy=self.on_node(node))
                if not self.ray.get(task.remote(marker)):
                    raise UserError(
                        f"node {nodes[node]} does not see the store {self.store.root}; name a folder that "
                        "all nodes share with --store FOLDER"
                    )
        finally:
            marker.unlink(missing_ok=True)

    def hand_out(self) -> None:
        """Submit every ready job to Ray, up to the most jobs at a time."""
        while self.capacity.workers is None or len(self.pending) < self.capacity.workers:
            job = self.take_ready(lambda job: True)
            if job is None:
                return
            on_gpu = bool(self.capacity.gpus) and takes_gpu(job)
            task = self.ray.remote(
                num_cpus=min(cpus(job), self.capacity.cpus),
                num_gpus=processes(job) if on_gpu else 0,
                max_retries=RETRIES,
            )(run_task)
            ref = task.options(name=job.label).remote(job, self.store.root, on_gpu, self.mailbox)
            self.pending[ref] = job

    def collect(self) -> None:
        """Handle the messages of jobs under way; a job that begins a second time had lost its worker."""
        jobs = {job.key: job for job in self.pending.values()}
        for key, message in self.ray.get(self.mailbox.take.remote()):
            job = jobs.get(key)
            if job is None:
                continue  # a lost worker's last message, which arrives after the end of the job
            if message.event != "started":
                self.handle(job, message)
                continue
            if key in self.started:
                self.watcher.retried(job, f"its worker was lost; it is made again by {message.text}")
            self.started.add(key)
            self.start(job)

    def end(self, job: Job, ref: "ObjectRef") -> None:
        """Handle the result of a job's task."""
        try:
            message = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            message = Message(
                "failed", f"Ray gave it up after {1 + RETRIES} tries: {reason}", detail=str(error)
            )
        if job.key not in self.started:
            self.start(job)
        self.handle(job, message)

    def run(self) -> Outcome:
        """Run until no job is left; if the run ends early, tasks are cancelled and their jobs can resume."""
        try:
            self.check_store_is_shared()
            self.hand_out()
            while self.pending:
                ended, _ = self.ray.wait(list(self.pending), timeout=POLL)
                self.collect()
                for ref in ended:
                    self.end(self.pending.pop(ref), ref)
                self.hand_out()
        finally:
            for ref in self.pending:
                self.ray.cancel(ref, force=True)
        return self.close()


def execute(jobs: list[Job], store: Store, capacity: Capacity, watcher: Watcher) -> Outcome:
    """Make the artifacts of `jobs`, each of which follows its inputs; call it within `open_executor`."""
    return RayScheduler(jobs, store, capacity, watcher).run() if jobs else Outcome()
