"""Shows how a walk goes: a bar for each job under way and one for the whole, with the time left."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipeline.execution.worker import Message
from pipeline.plan import Job

GUESS = {
    "prepare": 10,
    "t_predictor": 30,
    "finetune": 270,
    "generate": 130,
    "interpolate": 130,
    "flow": 20,
    "train": 14,
}
"""Seconds of a job of each kind, for the time left, until one of that kind was timed in this run."""


def spell(seconds: float) -> str:
    """'1 h 05 min', '4 min', '30 s'."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


class Bars:
    """A Watcher that draws bars on a terminal, and writes a line per finished job elsewhere."""

    def __init__(self, todo: list[Job], workers: int, *, quiet: bool) -> None:
        self.left, self.total, self.workers = list(todo), len(todo), max(1, workers)
        self.console = Console(stderr=True, quiet=quiet)
        self.live = self.console.is_terminal and not quiet
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
        self.bars = Progress(
            *columns, TextColumn("{task.fields[note]}"), console=self.console, disable=not self.live
        )
        self.ids: dict[str, TaskID] = {}
        self.whole = self.bars.add_task("all jobs", total=self.total, note="")
        self.began: dict[str, float] = {}
        self.took: dict[str, list[float]] = {}

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def time_left(self) -> float:
        """Seconds until the last job is done, from the mean times of this run's jobs of each kind."""
        now, seconds = time.monotonic(), 0.0
        for job in self.left:
            times = self.took.get(job.kind)
            expected = sum(times) / len(times) if times else GUESS[job.kind]
            seconds += max(0.0, expected - (now - self.began[job.key])) if job.key in self.began else expected
        return seconds / self.workers

    def started(self, job: Job) -> None:
        """A job was handed to a worker."""
        self.began[job.key] = time.monotonic()
        self.ids[job.key] = self.bars.add_task(job.label, total=None, note="")

    def progressed(self, job: Job, message: Message) -> None:
        """A job came further."""
        bar = self.ids[job.key]
        self.bars.update(bar, completed=message.done, total=message.total, note=message.text)
        self.bars.update(self.whole, note=f"about {spell(self.time_left())} left")

    def _ended(self, job: Job) -> float:
        self.left.remove(job)
        self.bars.remove_task(self.ids.pop(job.key))
        self.bars.update(self.whole, advance=1, note=f"about {spell(self.time_left())} left")
        return time.monotonic() - self.began.pop(job.key)

    def finished(self, job: Job) -> None:
        """A job's artifact is in place."""
        seconds = self._ended(job)
        self.took.setdefault(job.kind, []).append(seconds)
        if not self.live:
            done = self.total - len(self.left)
            left = spell(self.time_left())
            self.console.print(
                f"[{done}/{self.total}] {job.label}: {spell(seconds)}; about {left} left",
                markup=False,
                highlight=False,
            )

    def failed(self, job: Job, reason: str, detail: str) -> None:
        """A job can't be made."""
        self._ended(job)
        for text in filter(None, (detail, f"failed: {job.label}: {reason}")):
            print(text, file=sys.stderr)

    def noted(self, text: str) -> None:
        """Something worth a line."""
        self.console.print(text, markup=False, highlight=False)
