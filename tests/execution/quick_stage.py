"""A stage for tests of the executors: it waits, warns or fails as its parameters say, and needs no torch.

A worker that is sent such a job imports this module, which makes the kind known there.
"""

import errno
import os
import signal
import time
import warnings
from pathlib import Path

from pipeline.config import Strict
from pipeline.core.errors import Remark, UserError
from pipeline.core.job import Job, JobKind, register
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.execution.worker import Message


class QuickParams(Strict):
    """The parameters of a quick job."""

    name: str
    log: Path
    """A file outside the store that gets a line when the job begins and when it ends."""
    seconds: float = 0.0
    threads: int = 1
    gpus: int = 0
    die: int = 0
    """How many times its process is killed first."""
    fail: str = ""
    """`user`, `disk` or `exit`: how it fails."""
    prints: str = ""
    """What it prints, in Python and past it."""
    remarks: int = 0
    """How many remarks it makes, each of them twice."""


def run(params: QuickParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make `text`, which holds the name and the texts of the inputs."""
    tried = workspace / "scratch" / "tried"
    before = int(tried.read_text()) if tried.exists() else 0
    write_atomic(tried, str(before + 1))
    note(params, "begin", f"{os.getpid()}")
    progress(0, 1, "waiting")
    if before < params.die:
        os.kill(os.getpid(), signal.SIGKILL)
    if params.prints:
        print(params.prints, flush=True)
        os.write(1, f"{params.prints}\n".encode())
    if params.fail == "exit":
        raise SystemExit(3)
    if params.fail == "user":
        raise UserError("as told")
    if params.fail == "disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for number in range(2 * params.remarks):
        warnings.warn(f"remark {number // 2}", Remark, stacklevel=1)
    time.sleep(params.seconds)
    texts = [(inputs[role] / "text").read_text() for role in sorted(inputs)]
    write_atomic(workspace / "text", " ".join([params.name, *texts]))
    note(params, "end", os.environ["CUDA_VISIBLE_DEVICES"])


def note(params: QuickParams, what: str, more: str) -> None:
    """Append a line to the log."""
    with params.log.open("a") as file:
        file.write(f"{time.time()} {what} {params.name} {more}\n")


@register
class Quick(JobKind[QuickParams]):
    """The declaration of quick jobs."""

    name = "quick"
    params = QuickParams
    code_version = 1
    module = __name__


def quick(name: str, folder: Path, *inputs: Job, **told: object) -> Job:
    """A quick job."""
    params = QuickParams(name=name, log=folder / "log", **told)
    return Job("quick", params, {job.label: job for job in inputs}, name)


def events(folder: Path) -> list[tuple[str, str, str]]:
    """Return (begin or end, name, process or GPU) of each line of the log, in the order of time."""
    lines = (line.split(" ") for line in (folder / "log").read_text().splitlines())
    return [(what, name, more) for _, what, name, more in sorted(lines, key=lambda words: float(words[0]))]


def most_at_once(folder: Path, weights: dict[str, int]) -> int:
    """Return the greatest sum of the weights of jobs that were under way together."""
    now, most = 0, 0
    for what, name, _ in events(folder):
        now += weights[name] if what == "begin" else -weights[name]
        most = max(most, now)
    return most


class Notes:
    """A `Watcher` that keeps the events."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def started(self, job: Job) -> None:
        self.told.append(("started", job.label))

    def retried(self, job: Job, why: str) -> None:
        self.told.append(("retried", job.label))

    def progressed(self, job: Job, message: Message) -> None:
        self.told.append(("progressed", job.label))

    def finished(self, job: Job) -> None:
        self.told.append(("finished", job.label))

    def failed(self, job: Job, reason: str, detail: str) -> None:
        self.told.append(("failed", f"{job.label}: {reason}"))

    def noted(self, text: str) -> None:
        self.told.append(("noted", text))

    def count(self, what: str, label: str) -> int:
        """Return how often the event happened to a job."""
        return self.told.count((what, label))
