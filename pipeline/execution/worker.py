"""What a worker process does: take a job, carry it out under its lock, and make its product an artifact."""

import importlib
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Literal, TextIO

from pipeline.classify import registry
from pipeline.core.errors import REMEDIES, Remark, UserError
from pipeline.core.job import Job
from pipeline.core.provenance import provenance
from pipeline.core.stage import Progress
from pipeline.core.store import Store
from pipeline.planning.cost import memory_advice
from pipeline.planning.rates import CPU

PROGRESS_INTERVAL = 0.2
"""Seconds between two progress messages of a job."""


@dataclass(frozen=True)
class Message:
    """A worker's message about the job it carries out.

    Attributes:
        event: what happened; `stop` asks for the end of the whole run.
        text: the step under way, a remark, or why the job failed.
        done: how many steps are done, of `total`.
        total: the number of steps.
        detail: the traceback of an unexpected error.
    """

    event: Literal["started", "progress", "remark", "done", "failed", "stop"]
    text: str = ""
    done: int = 0
    total: int = 0
    detail: str = ""

    @property
    def ends_job(self) -> bool:
        """Whether this is the last message about the job."""
        return self.event in ("done", "failed", "stop")


Send = Callable[[Message], None]
"""Sends a message to the process that handed out the job."""


def make_artifact(job: Job, store: Store, send: Send) -> None:
    """Make the artifact of `job` unless the store has it.

    Raises:
        UserError: an input is missing or damaged, or the stage finds a mistake of the user.
    """
    with store.lock(job.kind, job.key):
        if store.has(job.kind, job.key):
            return
        inputs: dict[str, Path] = {}
        for role, needed in job.inputs.items():
            damage = store.damage(needed.kind, needed.key)
            if damage:
                folder = store.path(needed.kind, needed.key)
                raise UserError(
                    f"{job.label} needs {folder}, in which {damage}; run again and it is made again"
                )
            inputs[role] = store.path(needed.kind, needed.key)
        if job.plugin is not None:
            registry.use([job.plugin])
        stage = importlib.import_module(job.declaration.module)
        start = time.monotonic()
        with collect_remarks(send) as remarks:
            stage.run(job.params, inputs, store.workspace(job.kind, job.key), throttled_progress(send))
        about = {
            "label": job.label,
            "params": job.params.model_dump(mode="json"),
            "seconds": time.monotonic() - start,
            "device": device_name(),
            "inputs": {role: needed.key for role, needed in job.inputs.items()},
            "made_with": provenance(),
            "remarks": remarks,
        }
        if job.plugin is not None:
            about["plugin"] = {"file": job.plugin.path.name, "sha256": job.plugin.sha256}
        store.commit(job.kind, job.key, about)


def run_job(job: Job, store: Store, send: Send) -> Message:
    """Make the artifact of `job` and return the job's last message, which describes any error.

    Args:
        job: the job.
        store: the store that receives the artifact.
        send: sends the other messages; only one thread of the stage calls it at a time.
    """
    lock = Lock()

    def send_alone(message: Message) -> None:
        with lock:
            send(message)

    try:
        make_artifact(job, store, send_alone)
    except UserError as error:
        return Message("failed", str(error))
    except OSError as error:
        if error.errno in REMEDIES:  # every later job would meet it too
            return Message("stop", f"{error.strerror}: {error.filename or store.root}")
        return Message("failed", f"{type(error).__name__}: {error}", detail=traceback.format_exc())
    except (Exception, SystemExit) as error:  # SystemExit: a plug-in that calls sys.exit
        if type(error).__name__ == "OutOfMemoryError":  # torch's, by name: this module does not import torch
            return Message("failed", f"the GPU's memory is too small; {memory_advice(job)}")
        return Message("failed", f"{type(error).__name__}: {error}", detail=traceback.format_exc())
    return Message("done")


@contextmanager
def collect_remarks(send: Send) -> Iterator[list[str]]:
    """Send each different `Remark` warned of inside and add it to the list yielded; show other warnings."""
    remarks: list[str] = []
    with warnings.catch_warnings():
        show_other = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, Remark):
                show_other(message, category, filename, lineno, file, line)
            elif str(message) not in remarks:
                remarks.append(str(message))
                send(Message("remark", str(message)))

        warnings.simplefilter("always", Remark)
        warnings.showwarning = show
        yield remarks


def throttled_progress(send: Send) -> Progress:
    """Return a function that sends a stage's progress once per `PROGRESS_INTERVAL` at most, and its end."""
    last = 0.0

    def progress(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > PROGRESS_INTERVAL or done == total:
            last = now
            send(Message("progress", what, done, total))

    return progress


def set_visible_gpus(gpus: Sequence[str]) -> None:
    """Let this process, and those that it starts, use only the GPUs with these UUIDs.

    Once torch has looked for a GPU, this process keeps the first that it was given.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)


def device_name() -> str:
    """Return what this process computes on: the name of its GPU, or `cpu`."""
    torch = sys.modules.get("torch")  # a job that did not import torch ran on the CPU
    return torch.cuda.get_device_name() if torch and torch.cuda.is_initialized() else CPU


def serve_jobs(connection: Connection, root: Path) -> None:
    """Carry out the jobs that arrive until None arrives or the connection closes, as a local worker.

    Args:
        connection: brings pairs of a job and the UUIDs of its GPUs, and takes messages.
        root: the root folder of the store.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked worker has inherited the parent's handler
    # Standard output belongs to the command's answer: what a stage, a plug-in or a process that they start
    # prints goes to standard error.
    os.dup2(sys.__stderr__.fileno() if sys.__stderr__ else os.open(os.devnull, os.O_WRONLY), 1)
    store = Store(root)
    try:
        while (received := connection.recv()) is not None:
            job, gpus = received
            set_visible_gpus(gpus)
            connection.send(run_job(job, store, connection.send))
    except (EOFError, ConnectionError):  # the parent is gone; the job can resume
        return
