"""Shows how a walk goes: a bar for each job under way and one for the whole, with the time left."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipeline.core.durations import spell_duration
from pipeline.core.job import Job
from pipeline.execution.worker import Message


class Bars:
    """A Watcher that draws bars on a terminal, and writes a line per finished job elsewhere."""

    def __init__(self, expected: Mapping[Job, float], workers: int, *, quiet: bool) -> None:
        """expected: the jobs to come, and how many seconds each may take; workers: how many are made at a time."""
        self.expected, self.workers, self.total = dict(expected), max(1, workers), len(expected)
        self.console = Console(stderr=True, quiet=quiet)
        self.live = self.console.is_terminal and not quiet
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
        self.bars = Progress(
            *columns, TextColumn("{task.fields[note]}"), console=self.console, disable=not self.live
        )
        self.ids: dict[str, TaskID] = {}
        self.whole = self.bars.add_task("all jobs", total=self.total, note="")
        self.began: dict[str, float] = {}
        self.took: dict[str, tuple[float, float]] = {}
        """Of the jobs of a kind that are finished: the seconds that they took together, and were expected to."""

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def time_left(self) -> float:
        """Seconds until the last job is done: as expected, times what this run's jobs of the kind took of that."""
        now, seconds = time.monotonic(), 0.0
        for job, expected in self.expected.items():
            took, meant = self.took.get(job.kind, (1.0, 1.0))
            seconds += max(0.0, expected * took / meant - (now - self.began.get(job.key, now)))
        return seconds / self.workers

    def started(self, job: Job) -> None:
        """A job was handed to a worker."""
        self.began[job.key] = time.monotonic()
        self.ids[job.key] = self.bars.add_task(job.label, total=None, note="")

    def progressed(self, job: Job, message: Message) -> None:
        """A job came further."""
        bar = self.ids[job.key]
        self.bars.update(bar, completed=message.done, total=message.total, note=message.text)
        self.bars.update(self.whole, note=f"about {spell_duration(self.time_left())} left")

    def _dropped(self, job: Job) -> float:
        """A job is not under way any more; the seconds that it was."""
        self.bars.remove_task(self.ids.pop(job.key))
        return time.monotonic() - self.began.pop(job.key)

    def _ended(self, job: Job) -> tuple[float, float]:
        """A job is over; the seconds that it took, and was expected to."""
        seconds, expected = self._dropped(job), self.expected.pop(job)
        self.bars.update(self.whole, advance=1, note=f"about {spell_duration(self.time_left())} left")
        return seconds, expected

    def retried(self, job: Job, why: str) -> None:
        """A job's worker is gone; the job is tried again."""
        self._dropped(job)
        self.noted(f"{job.label}: {why}; trying again")

    def finished(self, job: Job) -> None:
        """A job's artifact is in place."""
        seconds, expected = self._ended(job)
        took, meant = self.took.get(job.kind, (0.0, 0.0))
        self.took[job.kind] = (took + seconds, meant + expected)
        if not self.live:
            done = self.total - len(self.expected)
            left = spell_duration(self.time_left())
            self.console.print(
                f"[{done}/{self.total}] {job.label}: {spell_duration(seconds)}; about {left} left",
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
