"""The exceptions and the warning that are shown to the user."""

import errno
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


REMEDIES = {
    errno.ENOSPC: "make room, or write to another disk",
    errno.EDQUOT: "make room, or write to another disk",
    errno.EROFS: "write to another folder",
    errno.EACCES: "get the permission, or take another folder",
    errno.EPERM: "get the permission, or take another folder",
}
"""What helps against errors of the file system that every later step would meet too."""

OTHER_REMEDIES = {
    errno.EIO: "check the disk and its connection",
    errno.EFBIG: "write to another disk",
    errno.EISDIR: "move this folder away",
    errno.ENOTDIR: "move away the file that stands where a folder belongs",
    errno.ENAMETOOLONG: "take shorter names",
    errno.EMFILE: "close other programs, or raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs, or raise the limit of open files (ulimit -n)",
}
"""What helps against other errors of the file system that no check finds beforehand."""


def describe_os_error(error: OSError) -> str | None:
    """Return a sentence about an error of the file system; None about any other."""
    remedy = (REMEDIES | OTHER_REMEDIES).get(error.errno or 0)
    if remedy is None:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}; {remedy}"


class Remark(UserWarning):
    """A sentence about a job that goes on, shown during the run and kept in the manifest of the job."""
