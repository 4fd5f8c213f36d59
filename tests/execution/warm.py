"""Runs of the whole command that start at once: forked from a process that has imported the slow libraries.

As from a shell, a run has its own process group, standard output and standard error. Its workers are forked.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from pipeline.core.paths import ROOT

PATIENCE = 300
"""Seconds after which a run that does not end fails its test."""

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "torch",
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
        "matplotlib.pyplot",
        "sklearn.manifold",
        "pandas",
        "rich.progress",
    ]
)


def _go(arguments: list[str], said: Path, prepare: Callable[[], None] | None) -> None:
    """What the forked process does."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell's children ignore it
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(said.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    from pipeline import cli
    from pipeline.execution import local_executor, worker

    assert Path(cli.__file__).is_relative_to(ROOT)
    local_executor.CONTEXT = multiprocessing.get_context("fork")
    serve = worker.serve_jobs

    def serve_alone(connection: Connection, root: Path) -> None:
        """Close what a spawned worker has not: a connection that others hold never says that one died."""
        os.closerange(3, connection.fileno())
        os.closerange(connection.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        serve(connection, root)

    local_executor.serve_jobs = serve_alone
    if prepare is not None:
        prepare()
    code = cli.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # and not by raising, of which multiprocessing would make another code


@dataclass
class Run:
    """A run under way, or over."""

    process: BaseProcess
    said: Path

    @property
    def out(self) -> str:
        """What it has printed."""
        return self.said.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        """What it has said of its progress and its errors."""
        return self.said.with_suffix(".err").read_text()

    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.exitcode is not None

    def kill(self, how: signal.Signals) -> None:
        """Send `how` to it and its workers, as the terminal or a scheduler would; it may be over by then."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)

    def finish(self) -> int:
        """Wait for its end; its exit code, or minus the signal that ended it."""
        self.process.join(PATIENCE)
        assert self.over(), "it does not end"
        return self.process.exitcode

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; fail if it ends first."""
        while not condition():
            assert not self.over(), f"it ended before: {self.err}"
            time.sleep(0.002)


def start(
    folder: Path,
    suite: str,
    *extra: str,
    command: str = "run",
    name: str = "run",
    prepare: Callable[[], None] | None = None,
) -> Run:
    """Start a command on a suite with store and results in `folder`.

    Args:
        folder: The folder with `store` and `results`.
        suite: The suite.
        extra: More arguments.
        command: The command.
        name: What it says is in `folder`, in files of this name, or in those of an absolute path.
        prepare: What the process does first, such as to change a module.
    """
    folders = ["--store", str(folder / "store"), "--results", str(folder / "results")]
    said, arguments = folder / name, [command, suite, *folders, "--json", *extra]
    process = SERVER.Process(target=_go, args=(arguments, said, prepare))
    process.start()
    return Run(process, said)
