"""What a worker process does: take a job, carry it out under its lock, make the product an artifact."""

import errno
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
from typing import Any, Literal

from pipeline.classify import registry
from pipeline.core.errors import Remark, UserError
from pipeline.core.job import Job
from pipeline.core.provenance import made_with
from pipeline.core.stage import Progress
from pipeline.core.store import Store
from pipeline.planning.cost import CPU, memory_advice

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
"""What stops a whole run: every later job would fail on it too."""


@dataclass(frozen=True)
class Message:
    """What a worker says of the job in hand."""

    what: Literal["begun", "progress", "remark", "done", "failed", "stop"]
    text: str = ""
    done: int = 0
    total: int = 0
    detail: str = ""

    @property
    def over(self) -> bool:
        """Whether it is the last that is said of the job."""
        return self.what in ("done", "failed", "stop")


def make(job: Job, store: Store, say: Callable[[Message], None]) -> None:
    """Make `job`'s artifact unless it is there. Raises UserError if an input is missing or damaged."""
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
        started = time.monotonic()
        stage = importlib.import_module(job.declaration.module)
        with remarks(say) as remarked:
            stage.run(job.params, inputs, store.workspace(job.kind, job.key), now_and_then(say))
        about = {
            "label": job.label,
            "params": job.params.model_dump(mode="json"),
            "seconds": time.monotonic() - started,
            "device": device(),
            "inputs": {role: needed.key for role, needed in job.inputs.items()},
            "made_with": made_with(),
            "remarks": remarked,
        }
        if job.plugin is not None:
            about["plugin"] = {"file": job.plugin.path.name, "sha256": job.plugin.sha256}
        store.commit(job.kind, job.key, about)


def attempt(job: Job, store: Store, say: Callable[[Message], None]) -> Message:
    """`make`, with what went wrong as a message. The threads of a stage say one thing at a time."""
    lock = Lock()

    def alone(message: Message) -> None:
        with lock:
            say(message)

    try:
        make(job, store, alone)
    except UserError as error:
        return Message("failed", str(error))
    except OSError as error:
        if error.errno in NO_ROOM:
            return Message("stop", f"{error.strerror}: {error.filename or store.root}")
        return Message("failed", f"{type(error).__name__}: {error}", detail=traceback.format_exc())
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # of torch, which need not be there
            return Message("failed", f"the GPU's memory is too small; {memory_advice(job)}")
        return Message("failed", f"{type(error).__name__}: {error}", detail=traceback.format_exc())
    return Message("done")


@contextmanager
def remarks(say: Callable[[Message], None]) -> Iterator[list[str]]:
    """Within it, every Remark is said, and added to the list that this yields; other warnings go where they went."""
    made: list[str] = []
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if not issubclass(category, Remark):
                others(message, category, *where)
            elif str(message) not in made:
                made.append(str(message))
                say(Message("remark", str(message)))

        warnings.simplefilter("always", Remark)
        warnings.showwarning = show
        yield made


def now_and_then(say: Callable[[Message], None]) -> Progress:
    """A stage's progress as messages, of which not more are said than a person can read."""
    last_said = 0.0

    def progress(done: int, total: int, what: str) -> None:
        nonlocal last_said
        now = time.monotonic()
        if now - last_said > 0.2 or done == total:
            last_said = now
            say(Message("progress", what, done, total))

    return progress


def see(gpus: Sequence[str]) -> None:
    """Let this process, and those that it starts, use these GPUs alone.

    Once torch has looked for one, this process keeps the first that it was given, which is the same for all its jobs.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)


def device() -> str:
    """What the jobs of this process are computed on: the name of its GPU, or cpu."""
    torch = sys.modules.get("torch")  # a job that did not need it was on the CPU
    return torch.cuda.get_device_name() if torch and torch.cuda.is_initialized() else CPU


def serve(connection: Connection, root: Path) -> None:
    """Carry out the jobs that come through `connection`, with their GPUs, until None comes or it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    signal.signal(
        signal.SIGTERM, signal.SIG_DFL
    )  # what the parent decides; a forked worker has the parent's handler
    store = Store(root)
    try:
        while (given := connection.recv()) is not None:
            job, gpus = given
            see(gpus)
            connection.send(attempt(job, store, connection.send))
    except (EOFError, BrokenPipeError):  # the parent is gone; the job can be gone on with
        return
