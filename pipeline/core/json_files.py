"""JSON files that hold objects, read so that a damaged one is a sentence that names the file."""

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
    content = _read(path, remedy)
    if not isinstance(content, dict):
        raise UserError(f"{path} cannot be read (it holds no JSON object); {remedy}")
    return content


def read_objects(path: Path, remedy: str) -> list[dict[str, Any]]:
    """Read the list of JSON objects in the file at `path`; one object alone counts as a list of it.

    Args:
        path: The file.
        remedy: What the user can do if it is damaged.

    Raises:
        UserError: It is missing, no regular file, or holds something else.
    """
    content = _read(path, remedy)
    objects = content if isinstance(content, list) else [content]
    if not all(isinstance(one, dict) for one in objects):
        raise UserError(f"{path} cannot be read (it holds something else than JSON objects); {remedy}")
    return objects


def _read(path: Path, remedy: str) -> Any:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no regular file")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path} cannot be read ({reason}); {remedy}") from error
