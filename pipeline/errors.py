"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """A mistake the user can mend: shown as one sentence, without a traceback, exit code 2."""
