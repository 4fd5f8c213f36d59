"""Where every random number comes from."""

import hashlib


def derive(seed: int, *labels: str | int) -> int:
    """A seed in [0, 2**63) for one named use of `seed`.

    Streams with different labels are independent, and a stream needs no state of its own: the numbers of step
    1,000 are had without drawing those of the 999 before, which is what makes resuming exact.
    """
    text = "\x1f".join([str(int(seed)), *map(str, labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
