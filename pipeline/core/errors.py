"""What is said to the user: the one exception that stands for a mistake, and the one warning."""

from collections.abc import Sequence


class UserError(Exception):
    """A mistake the user can mend: shown as one sentence, without a traceback, exit code 2."""


class FaultyFileError(UserError):
    """The faults of one file; the message is the first of them.

    Attributes:
        faults: One sentence for each fault.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        more = f" ({len(faults) - 1} more after it)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{more}")


class Remark(UserWarning):
    """What the user should know of a job that goes on: one sentence, shown in the run and kept in the job's manifest."""
