"""Where every random number comes from."""

import hashlib
from functools import lru_cache

import numpy as np


def derive(seed: int, *labels: str | int) -> int:
    """A seed in [0, 2**63) for one named use of `seed`.

    Streams with different labels are independent, and a stream needs no state of its own: the numbers of step
    1,000 are had without drawing those of the 999 before, which is what makes resuming exact.
    """
    text = "\x1f".join([str(int(seed)), *map(str, labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def shuffled(count: int, start: int, stop: int, seed: int) -> np.ndarray:
    """Places start to stop of an endless sequence of permutations of range(count): int64 [stop - start]."""
    if start == stop:
        return np.empty(0, dtype=np.int64)
    first = start // count
    whole = np.concatenate(
        [_permutation(count, derive(seed, turn)) for turn in range(first, -(-stop // count))]
    )
    return whole[start - first * count : stop - first * count]


@lru_cache(maxsize=8)
def _permutation(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(count)
