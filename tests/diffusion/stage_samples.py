"""Stages of tests: killed between two steps, and compared by what they leave."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from pipeline.data.image_sets import DomainArrays, save_domain


class Killed(Exception):
    """Stands for a kill -9 between two steps."""


def silent(done: int, total: int, what: str) -> None:
    pass


def killed_after(steps: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, what: str) -> None:
        if done >= steps:
            raise Killed

    return progress


def product(folder: Path) -> dict[str, bytes]:
    """The files of an artifact-to-be, without what only resuming needs."""
    files = (p for p in folder.rglob("*") if p.is_file() and "scratch" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def sources_and_garbage(folder: Path, sources: Iterable[str]) -> Path:
    """Twelve images of each domain, four for testing; labels and images of the target T are garbage."""
    rng = np.random.default_rng(0)
    for domain in [*sources, "T"]:
        images = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
        names = np.array([f"{domain}{i}" for i in range(12)])
        split = np.array([0, 0, 1] * 4, dtype=np.uint8)
        save_domain(folder, domain, DomainArrays(images, np.arange(12) % 2, split, names))
    for name in ("images", "labels"):
        (folder / f"T.{name}.npy").write_bytes(b"garbage")
    return folder
