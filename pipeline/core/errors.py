"""What is said to the user: the one exception that stands for a mistake, and the one warning."""


class UserError(Exception):
    """A mistake the user can mend: shown as one sentence, without a traceback, exit code 2."""


class Remark(UserWarning):
    """What the user should know of a job that goes on: one sentence, shown in the run and kept in the job's manifest."""
