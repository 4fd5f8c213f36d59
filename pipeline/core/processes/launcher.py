"""A job by several processes of one machine, each with its own GPU, or on CPUs by gloo.

torch's elastic launcher starts the processes, connects them and reports the first that fails. They are
programs (worker.py), because a job may run in a daemonic process, which must not have children of
multiprocessing.
"""

import json
import logging
import os
import pickle
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.core.processes.files import JOB, PROGRESS
from pipeline.core.stage import Progress

POLL_SECONDS = 0.05


def launch(
    kind: str, processes: int, share: Callable[..., None], arguments: tuple[Any, ...], progress: Progress
) -> None:
    """Call `share` in several processes.

    Args:
        kind: The job's kind, whose field `processes` errors name.
        processes: Their number.
        share: A function at the top level of its module. It is called with `arguments` and a `Progress`, to
            which it reports in one of the processes.
        arguments: What can be pickled.
        progress: Called with what `share` reports.

    Raises:
        UserError: One of the processes raised it.
        torch.OutOfMemoryError: One of the processes raised it.
        RuntimeError: A process failed otherwise. The message holds its traceback.
    """
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(1) as pool:
        folder = Path(name)
        (folder / JOB).write_bytes(pickle.dumps((kind, processes, share, arguments)))
        # In a thread, where the launcher leaves the signal handlers of this process alone.
        launched = pool.submit(_start, processes, folder)
        try:
            _relay(folder / PROGRESS, launched, progress)
        finally:
            (folder / JOB).unlink()  # without it the processes end (worker.py)
        try:
            launched.result()
        except ChildFailedError as error:
            raise _as_raised(error.get_first_failure()[1]) from None


def _start(processes: int, folder: Path) -> None:
    """Start the processes, and return when all have ended.

    Raises:
        ChildFailedError: One of them failed. The others were ended.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=POLL_SECONDS,
        logs_specs=DefaultLogsSpecs(str(folder / "logs")),
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # _as_raised says it all
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with _environment(PYTHONPATH=path, OMP_NUM_THREADS="1"):
        elastic_launch(config, sys.executable)("-m", "pipeline.core.processes.worker", str(folder))


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables within this context."""
    before = os.environ.copy()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _relay(file: Path, launched: Future[None], progress: Progress) -> None:
    """Report the progress that is written to `file`, line by line, until the processes have ended."""
    read = 0
    over = False
    while not over:
        over = launched.done()
        if file.exists():
            lines = file.read_text().split("\n")[:-1]
            for line in lines[read:]:
                progress(*json.loads(line))
            read = len(lines)
        if not over:
            time.sleep(POLL_SECONDS)


def _as_raised(failure: ProcessFailure) -> Exception:
    """Return the exception that ended a process."""
    recorded: Any = failure.message  # of a process that raised, a dict
    if not isinstance(recorded, dict):
        return RuntimeError(
            f"one of the processes of the job died (exit code {failure.exitcode}): {recorded}"
        )
    kind, _, text = recorded["message"].partition(": ")
    if kind == "UserError":
        return UserError(text)
    if kind == "OutOfMemoryError":
        return torch.OutOfMemoryError(text)
    traceback = recorded["extraInfo"]["py_callstack"]
    return RuntimeError(f"one of the processes of the job failed:\n{traceback}")
