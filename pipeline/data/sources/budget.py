"""What the download of one file may cost in attempts, bytes and time, whatever the server answers."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError


@dataclass(frozen=True)
class RetryPolicy:
    """When to repeat a failed attempt, and when to give up.

    Attributes:
        attempts: Number of consecutive failures after which the download is given up.
        timeout: Seconds without any byte from the server after which an attempt fails.
        pause: Seconds before the second attempt; each further pause is twice as long.
        all_attempts: Number of attempts in all, those that made progress included.
        seconds: Seconds in all.
        times_size: Bytes in all, as a multiple of the file's size.
        unknown_size: Bytes in all where neither the card nor the server states a size.
    """

    attempts: int = 5
    timeout: float = 30.0
    pause: float = 2.0
    all_attempts: int = 1000
    seconds: float = 24 * 3600.0
    times_size: int = 6
    unknown_size: int = 64 * 2**30


class BudgetSpentError(UserError):
    """A download cost more than its budget."""


class Budget:
    """What the download of one file has cost so far.

    Args:
        policy: The limits.
        size: The file's bytes by the card; None takes what the server states.
    """

    def __init__(self, policy: RetryPolicy, size: int | None) -> None:
        self.policy, self.size, self.by_card = policy, size, size is not None
        self.attempts, self.received, self.start = 0, 0, time.monotonic()

    def seconds_left(self) -> float:
        """Return the seconds that are left.

        Raises:
            BudgetSpentError: None are left.
        """
        left = self.policy.seconds - (time.monotonic() - self.start)
        if left <= 0:
            raise BudgetSpentError(f"it was not complete after {self.policy.seconds:,.0f} s")
        return left

    def start_attempt(self) -> None:
        """Count an attempt.

        Raises:
            BudgetSpentError: It is one too many, or no time is left.
        """
        self.seconds_left()
        if self.attempts >= self.policy.all_attempts:
            raise BudgetSpentError(f"it was not complete after {self.attempts:,} attempts")
        self.attempts += 1

    def learn_size(self, size: int, remaining: int, folder: Path) -> None:
        """Take the largest size that the server states, unless the card states one; look for room.

        Raises:
            BudgetSpentError: The disk of `folder` has no room for the `remaining` bytes.
        """
        if not self.by_card:
            self.size = max(size, self.size or 0)
        free = shutil.disk_usage(folder).free
        if remaining > free:
            raise BudgetSpentError(
                f"the server states {remaining:,} bytes to come, but the disk of {folder} has {free:,} free"
            )

    def receive(self, count: int) -> None:
        """Count bytes.

        Raises:
            BudgetSpentError: They are too many, or no time is left.
        """
        self.received += count
        policy = self.policy
        limit = policy.unknown_size if self.size is None else policy.times_size * self.size
        if self.received > limit:
            stated = "no size is stated" if self.size is None else f"the file has {self.size:,}"
            raise BudgetSpentError(f"the server sent {self.received:,} bytes, but {stated}")
        self.seconds_left()
