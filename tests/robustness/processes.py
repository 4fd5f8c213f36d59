"""The processes of a run, found in /proc: workers with a job and without, and those left after its end."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.execution.warm import Run

PATIENCE = 60
"""Seconds within which a worker whose parent is gone ends: it notices at its next message."""


def processes(session: int) -> Iterator[tuple[int, int]]:
    """Yield number and parent of each process of a session; those that wait to be reaped are none."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                yield int(folder.name), int(parent)


def holds_lock(process: int, store: Path) -> bool:
    """Whether a process has a file of the folder `locks` of the store open."""
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                if Path(os.readlink(file)).is_relative_to(store / "locks"):
                    return True
    return False


def workers(run: Run, store: Path, *, busy: bool) -> list[int]:
    """The workers of a run that have a job, or those that have none."""
    text = Path(f"/proc/{run.process.pid}/cmdline").read_bytes()
    found = []
    for process, parent in processes(run.process.pid):
        with contextlib.suppress(OSError):
            forked = Path(f"/proc/{process}/cmdline").read_bytes() == text  # git, for one, is no worker
            if parent == run.process.pid and forked and holds_lock(process, store) == busy:
                found.append(process)
    return sorted(found)


def check_none_left(run: Run) -> None:
    """Check that no process of a run that is over goes on."""
    end = time.monotonic() + PATIENCE
    while left := list(processes(run.process.pid)):
        assert time.monotonic() < end, f"processes {left} are left"
        time.sleep(0.05)
