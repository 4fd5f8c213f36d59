"""A fine-tuning by several processes of one machine, each with a GPU of its own, or on CPUs by gloo.

They are started as programs of their own, for a worker, itself a daemon, may have no children of multiprocessing, and
they end with the process that started them, so that no two ever work on one job (process.py).
"""

import os
import socket
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from pipeline.core.stage import Progress
from pipeline.planning.kinds.finetune import FinetuneParams


def together(params: FinetuneParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Carry out finetune.tune in as many processes as the settings say; UserError as of one of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    connections: dict[Connection, subprocess.Popen] = {}
    try:
        for rank in range(params.settings.processes):
            ours, theirs = Pipe()
            connections[ours] = _start(rank, params.settings.processes, port, theirs)
            theirs.close()
            ours.send((params, inputs, workspace))
        _follow(connections, progress)
    finally:
        for connection, process in connections.items():
            connection.close()
            process.kill()
            process.wait()


def _start(rank: int, count: int, port: int, connection: Connection) -> subprocess.Popen:
    """One process; the environment tells accelerate which."""
    told = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": 1,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.diffusion.finetune.worker", str(connection.fileno())],
        env=os.environ | {name: str(value) for name, value in told.items()},
        pass_fds=[connection.fileno()],
        stdin=subprocess.DEVNULL,
    )


def _follow(connections: dict[Connection, subprocess.Popen], progress: Progress) -> None:
    """Hear what processes say until all are done; if one fails, the others, which would wait for it, are given up."""
    going = set(connections)
    while going:
        for connection in wait(list(going)):
            try:
                what, told = connection.recv()
            except EOFError:
                code = connections[connection].wait()
                raise RuntimeError(f"a process of the fine-tuning died (exit code {code})") from None
            if what == "progress":
                progress(*told)
            elif what == "mistake":
                raise UserError(told)
            elif what == "memory":
                raise torch.OutOfMemoryError(told)
            elif what == "failed":
                raise RuntimeError(f"a process of the fine-tuning failed:\n{told}")
            else:
                going.remove(connection)
