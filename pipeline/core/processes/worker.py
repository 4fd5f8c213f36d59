"""One of the processes that share a job: the program that launcher.py starts."""

import json
import os
import pickle
import sys
import threading
import time
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.errors import record

from pipeline.core.errors import UserError
from pipeline.core.processes.files import JOB, PROGRESS

WATCH_SECONDS = 0.2


@record  # writes an exception to the file in which the launcher looks for it
def main(folder: Path) -> None:
    """Carry out the job that launcher.py wrote into `folder`."""
    kind, processes, share, arguments = pickle.loads((folder / JOB).read_bytes())
    threading.Thread(target=_end_with_launcher, args=(folder,), daemon=True).start()

    def progress(done: int, total: int, what: str) -> None:
        with (folder / PROGRESS).open("a") as file:
            file.write(json.dumps([done, total, what]) + "\n")

    try:
        _check_gpus(kind, processes)
        share(*arguments, progress)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _check_gpus(kind: str, processes: int) -> None:
    """Raise a UserError if there are GPUs, but fewer than processes. Must run before CUDA is initialised."""
    found = torch.cuda.device_count()
    if 0 < found < processes:
        raise UserError(
            f"{kind}.processes is {processes}, each with a GPU of its own, but this job sees {found} GPUs"
        )


def _end_with_launcher(folder: Path) -> None:
    """End this process when the launcher is gone, even if it was killed, or has given the job up."""
    launcher = os.getppid()
    while os.getppid() == launcher and (folder / JOB).exists():
        time.sleep(WATCH_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception:  # the launcher reports it
        sys.exit(1)
