"""Settings of torch under which the same seed gives the same numbers."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def reproducible(threads: int, deterministic: bool = True) -> Iterator[None]:
    """Let torch compute by deterministic algorithms and on `threads` CPU threads within the context.

    Without `deterministic`, a GPU may sum in any order, and cuDNN times its algorithms for every shape that
    it meets and takes the fastest. Results of two runs then differ by rounding. A CPU is always
    deterministic.

    Afterwards all settings and the state of the global generators are as before, but for
    CUBLAS_WORKSPACE_CONFIG, which matrix products on a GPU need and which holds for the whole process.

    In this mode torch fills fresh memory with NaN, so that reads of it show. That is turned off here, because
    it takes a fifth of the time of a small network.
    """
    import torch  # here, so that planning needs no torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    of_numpy, of_python = np.random.get_state(), random.getstate()
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
        np.random.set_state(of_numpy)
        random.setstate(of_python)
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.backends.cudnn.benchmark = tuned
        memory.fill_uninitialized_memory = filled


def seed_generators(seed: int) -> None:
    """Seed the global generators of torch, on the CPU and the GPU in use, of numpy and of Python.

    Args:
        seed: In [0, 2**63); numpy gets its lowest 32 bits.
    """
    import torch

    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(seed)  # before that, torch would queue the call at every step
    np.random.seed(seed % 2**32)
    random.seed(seed)
