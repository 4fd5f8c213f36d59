"""Settings of torch under which the same seed gives the same numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def reproducible(threads: int, deterministic: bool = True) -> Iterator[None]:
    """Let torch compute by deterministic algorithms and on `threads` CPU threads within the context.

    Without `deterministic`, a GPU may sum in any order, and cuDNN times its algorithms for every shape that
    it meets and takes the fastest. Results of two runs then differ by rounding. A CPU is always
    deterministic.

    Afterwards all settings and the state of the global generator are as before, but for
    CUBLAS_WORKSPACE_CONFIG, which matrix products on a GPU need and which holds for the whole process.

    In this mode torch fills fresh memory with NaN, so that reads of it show. That is turned off here, because
    it takes a fifth of the time of a small network.
    """
    import torch  # here, so that planning needs no torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    tuned, tune = torch.backends.cudnn.benchmark, torch.cuda.is_available() and not deterministic
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    try:
        torch.set_num_threads(threads)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(not tune)
        torch.backends.cudnn.benchmark = tune
        memory.fill_uninitialized_memory = False
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.backends.cudnn.benchmark = tuned
        memory.fill_uninitialized_memory = filled
