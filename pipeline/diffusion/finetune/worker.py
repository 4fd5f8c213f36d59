"""One of the processes that share a fine-tuning: a program of its own, started by processes.py."""

import os
import sys
import threading
import traceback
from multiprocessing.connection import Connection

import torch

from pipeline.core.errors import UserError
from pipeline.core.reproducibility import reproducible
from pipeline.diffusion.finetune.stage import tune


def main() -> None:
    """Its job comes through the connection whose file descriptor is the one argument."""
    connection = Connection(int(sys.argv[1]))
    params, inputs, workspace = connection.recv()
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()

    def progress(done: int, total: int, what: str) -> None:
        connection.send(("progress", (done, total, what)))

    try:
        _check(params.settings.processes)
        with reproducible(params.threads):
            tune(params, inputs, workspace, progress)
    except UserError as error:
        connection.send(("mistake", str(error)))
    except torch.OutOfMemoryError as error:
        connection.send(("memory", str(error)))
    except Exception:
        connection.send(("failed", traceback.format_exc()))
    else:
        connection.send(("done", None))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _check(count: int) -> None:
    """UserError if there are GPUs, but not one for each of `count` processes. Asked where no CUDA was begun yet."""
    found = torch.cuda.device_count()
    if 0 < found < count:
        raise UserError(
            f"finetune.processes is {count}, each with a GPU of its own, but this job sees {found} of them"
        )


def _end_with_parent(connection: Connection) -> None:
    """The parent says nothing more; that the connection ends means that it is gone."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    main()
