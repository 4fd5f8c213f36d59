"""The record of a plug-in: a file from outside this project that declares classifier methods."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plugin:
    """A file that declares methods, with the text that it had when the run was planned.

    The text travels with the job to the worker, because the job's key hashes this text and no later one.

    Attributes:
        path: The file.
        text: What the file contained when the run was planned.
        module: The name by which a package's module is imported; None for a file given by --plugin.
    """

    path: Path
    text: str
    module: str | None = None

    @property
    def sha256(self) -> str:
        """The hash of the text. It does not cover what the file imports."""
        return hashlib.sha256(self.text.encode()).hexdigest()
