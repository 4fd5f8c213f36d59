"""The exceptions and the warning that are shown to the user."""

from collections.abc import Sequence


class UserError(Exception):
    """A mistake that the user can correct; shown as one sentence, without a traceback, with exit code 2."""


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
    """A sentence about a job that goes on, shown during the run and kept in the manifest of the job."""
