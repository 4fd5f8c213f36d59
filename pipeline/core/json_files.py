"""JSON files that hold one object, read so that a damaged one is a sentence that names the file."""

import json
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """Read the JSON object in the file at `path`.

    Args:
        path: The file.
        remedy: What the user can do if it is damaged.

    Raises:
        UserError: It is missing, no regular file, or holds something else than one object.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no regular file")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path} cannot be read ({reason}); {remedy}") from error
    return content
