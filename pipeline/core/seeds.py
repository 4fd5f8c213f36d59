"""Seeds for independent streams of random numbers, of which every random number of the pipeline is drawn."""

import hashlib
from functools import lru_cache

import numpy as np


def derive(seed: int, *labels: str | int) -> int:
    """Return a seed in [0, 2**63) for one use of `seed`, which the labels name.

    Streams with different labels are independent. A stream has no state: the numbers of step 1,000 can be
    drawn without those of the 999 steps before, and so a job resumes exactly.
    """
    text = "\x1f".join([str(int(seed)), *map(str, labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def shuffled(count: int, start: int, stop: int, seed: int) -> np.ndarray:
    """Return places `start` to `stop` of an endless sequence of permutations of range(count).

    Args:
        count: The number of items, such as the images of a dataset.
        start: The first place, from 0.
        stop: The place after the last.
        seed: The seed of the permutations.

    Returns:
        Indices of items, int64 [stop - start].
    """
    if start == stop:
        return np.empty(0, dtype=np.int64)
    first = start // count
    whole = np.concatenate(
        [_permutation(count, derive(seed, turn)) for turn in range(first, -(-stop // count))]
    )
    return whole[start - first * count : stop - first * count]


@lru_cache(maxsize=8)
def _permutation(count: int, seed: int) -> np.ndarray:
    """Return a permutation of range(count); int64 [count]."""
    return np.random.default_rng(seed).permutation(count)
