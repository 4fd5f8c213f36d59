"""Show the progress of a run: a bar for each job under way and one for all jobs, with the time left."""

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipeline.core.durations import spell_duration
from pipeline.core.job import Job
from pipeline.core.text import one_line, printable
from pipeline.execution.worker import Message

JobsDone = Callable[[int, int, str], None]
"""Called after each job with the number of jobs that have ended, the number of all jobs and the label."""


class ProgressBars:
    """A `Watcher` that draws bars on a terminal, and elsewhere writes one line per finished job.

    Args:
        expected: the seconds that each job of the run is expected to take.
        workers: how many jobs run at a time.
        quiet: whether to print nothing but failures.
        jobs_done: called after each job, if given.
    """

    def __init__(
        self,
        expected: Mapping[Job, float],
        workers: int,
        *,
        quiet: bool,
        jobs_done: JobsDone | None = None,
    ) -> None:
        self.jobs_done = jobs_done
        self.expected, self.workers, self.total = dict(expected), max(1, workers), len(expected)
        self.console = Console(stderr=True, quiet=quiet)
        self.live = self.console.is_terminal and not quiet
        label, note = (
            TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}")
        )
        columns = [label, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), note]
        self.bars = Progress(*columns, console=self.console, disable=not self.live)
        self.job_bars: dict[str, TaskID] = {}
        self.total_bar = self.bars.add_task("all jobs", total=self.total, note="")
        self.start_times: dict[str, float] = {}
        self.seconds_by_kind: dict[str, tuple[float, float]] = {}
        """By kind of job, the seconds that its finished jobs took, and the seconds that were expected."""

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def time_left(self) -> float:
        """Estimate the seconds until the last job ends.

        A job's expected time is scaled by how long finished jobs of its kind took for each second expected.
        """
        now, seconds = time.monotonic(), 0.0
        for job, expected in self.expected.items():
            taken, planned = self.seconds_by_kind.get(job.kind, (1.0, 1.0))
            seconds += max(0.0, expected * taken / planned - (now - self.start_times.get(job.key, now)))
        return seconds / self.workers

    def started(self, job: Job) -> None:
        """Add a bar for `job`."""
        self.start_times[job.key] = time.monotonic()
        self.job_bars[job.key] = self.bars.add_task(job.label, total=None, note="")

    def progressed(self, job: Job, message: Message) -> None:
        """Move the bar of `job`."""
        bar = self.job_bars[job.key]
        self.bars.update(bar, completed=message.done, total=message.total, note=one_line(message.text))
        self.bars.update(self.total_bar, note=f"about {spell_duration(self.time_left())} left")

    def _remove_bar(self, job: Job) -> float:
        """Remove the bar of `job`; return the seconds since the job started."""
        self.bars.remove_task(self.job_bars.pop(job.key))
        return time.monotonic() - self.start_times.pop(job.key)

    def _end(self, job: Job) -> tuple[float, float]:
        """Count `job` as ended; return the seconds that it took and the seconds that were expected."""
        seconds, expected = self._remove_bar(job), self.expected.pop(job)
        self.bars.update(self.total_bar, advance=1, note=f"about {spell_duration(self.time_left())} left")
        return seconds, expected

    def retried(self, job: Job, why: str) -> None:
        """Remove the bar of `job`, which starts again, and print why."""
        self._remove_bar(job)
        self.noted(f"{job.label}: {why}; trying again")

    def finished(self, job: Job) -> None:
        """Count `job` as finished; print a line where there are no bars."""
        seconds, expected = self._end(job)
        taken, planned = self.seconds_by_kind.get(job.kind, (0.0, 0.0))
        self.seconds_by_kind[job.kind] = (taken + seconds, planned + expected)
        if not self.live:
            done = self.total - len(self.expected)
            left = spell_duration(self.time_left())
            self.noted(f"[{done}/{self.total}] {job.label}: {spell_duration(seconds)}; about {left} left")
        self._count(job)

    def failed(self, job: Job, reason: str, detail: str) -> None:
        """Count `job` as ended and print why it failed, even if the display is quiet."""
        self._end(job)
        for text in filter(None, (detail, f"failed: {job.label}: {reason}")):
            print(printable(text), file=sys.stderr)  # noqa: T201
        self._count(job)

    def _count(self, job: Job) -> None:
        if self.jobs_done is not None:
            self.jobs_done(self.total - len(self.expected), self.total, job.label)

    def noted(self, text: str) -> None:
        """Print `text` on a line of its own."""
        self.console.print(printable(text), markup=False, highlight=False)
