"""The same numbers from the same seed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Within it, torch computes on `threads` threads, by deterministic algorithms; afterwards as before.

    A GPU's matrix products are deterministic by a setting that counts for the whole process.

    The global generator is put back too. Fresh memory is not filled with NaN, as torch else does in this mode
    so that reads of it show: that costs a fifth of the time of a small network.
    """
    import torch  # here, because only a job that computes needs it

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    try:
        torch.set_num_threads(threads)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        memory.fill_uninitialized_memory = filled
