"""Time implementations beside each other."""

import time
from collections.abc import Callable

Log = Callable[[str], None]
"""Takes one line about what is being measured."""

Measurements = dict[str, dict[str, float]]
"""Numbers by measurement and name."""


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternate(
    first: Callable[[], object], second: Callable[[], object], rounds: int
) -> list[tuple[float, float]]:
    """Time both in turns, after one round that does not count; which one begins alternates.

    Other work on the machine thus slows both alike, and the ratio within a round stays meaningful.

    Returns:
        The seconds of `first` and `second` in each round.
    """
    times: list[tuple[float, float]] = []
    for number in range(-1, rounds):
        if number % 2 == 0:
            times.append((timed(first), timed(second)))
        else:
            seconds = timed(second)
            times.append((timed(first), seconds))
    return times[1:]
