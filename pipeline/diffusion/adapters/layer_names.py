"""Choose layers by a regular expression from a suite or an adapter's file, within a time limit."""

import json
import subprocess
import sys
from functools import lru_cache

from pipeline.core.errors import UserError

LIMIT_S = 30
"""Seconds after which a regular expression is refused.

Some expressions take years for one name, and no other thread can interrupt Python's `re`. A process of its
own therefore matches the names, and is ended after this time.
"""

_PROGRAM = """\
import json, re, sys
pattern, names = json.load(sys.stdin)
json.dump([name for name in names if re.fullmatch(pattern, name)], sys.stdout)
"""


@lru_cache(maxsize=64)
def matching_names(pattern: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `names` that `pattern` matches as a whole, in their order.

    Raises:
        UserError: It takes more than `LIMIT_S` seconds, or fails.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            input=json.dumps([pattern, names]),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"adapter: include {pattern[:80]!r} takes more than {LIMIT_S} s for the names of the base "
            "model's layers; use a simpler regular expression, without repeats inside repeats"
        ) from error
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"adapter: include {pattern[:80]!r} cannot be matched: {error.stderr[-200:]}"
        ) from error
    return tuple(json.loads(done.stdout))
