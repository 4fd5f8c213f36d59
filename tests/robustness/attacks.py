"""Count the tries of an attack: each has its own chance, drawn from the seed, and its own time limit.

The seed is the environment variable ROBUSTNESS_SEED, 0 by default. The end of the report states it, and the
counts of every attack: `archives: 500 tried, 500 passed`.
"""

import os
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from _pytest.terminal import TerminalReporter

SEED = os.environ.get("ROBUSTNESS_SEED", "0")
"""What all chances of all attacks follow from."""

SHOWN = 10
"""How many failed tries of an attack are shown whole."""

LONG_LIMIT = 3600
"""Seconds of a test in the long half."""

COUNTS = "attack"
"""The property of a report that holds (attack, tried, passed)."""


def sizes(short: int, long: int) -> pytest.MarkDecorator:
    """Run a test with `count` tries: `short` in every run, `long` more where `robust` is asked for."""
    marks = [pytest.mark.robust, pytest.mark.timeout(LONG_LIMIT)]
    return pytest.mark.parametrize(
        "count", [pytest.param(short, id="short"), pytest.param(long, id="long", marks=marks)]
    )


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread if the context takes longer than `seconds`."""

    def expire(number: int, frame: object) -> None:
        raise TimeoutError(f"it did not end within {seconds:g} s")

    before, start = signal.signal(signal.SIGALRM, expire), time.monotonic()
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds)  # that of pytest-timeout, maybe
    try:
        yield
    finally:
        left = max(outer - (time.monotonic() - start), 0.001) if outer else 0
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, left)


class Attacks:
    """Tries attacks one after another, and fails the test at the end if any of them succeeded."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self.record = record

    def __call__(
        self, name: str, count: int, attempt: Callable[[random.Random], None], *, seconds: float
    ) -> None:
        """Try `attempt` `count` times, each with a chance of its own and no longer than `seconds`.

        Args:
            name: What the attack is called in the report.
            count: The number of tries.
            attempt: Attacks, and raises an error of any kind if that did harm.
            seconds: The limit of each try.
        """
        failed = []
        for number in range(count):
            try:
                with time_limit(seconds):
                    attempt(random.Random(f"{SEED} {name} {number}"))
            except Exception:
                failed.append(f"try {number} of {name} (ROBUSTNESS_SEED={SEED}):\n{traceback.format_exc()}")
        self.record(COUNTS, (name, count, count - len(failed)))
        if failed:
            pytest.fail("\n".join([f"{len(failed)} of {count} failed", *failed[:SHOWN]]), pytrace=False)


@pytest.fixture
def attacks(record_property: Callable[[str, object], None]) -> Attacks:
    """What counts the tries of a test."""
    return Attacks(record_property)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the seed, and how many tries of each attack passed."""
    tried: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for key, value in report.user_properties:
            if key == COUNTS:
                name, count, good = value
                tried[name] += count
                passed[name] += good
    if tried:
        terminalreporter.section(f"attacks, ROBUSTNESS_SEED={SEED}")
    for name in sorted(tried):
        terminalreporter.line(f"{name}: {tried[name]} tried, {passed[name]} passed")
