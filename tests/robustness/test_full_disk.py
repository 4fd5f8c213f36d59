"""Disks of several sizes that are too small: one sentence, only whole artifacts, and more room is enough."""

import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from pipeline.core.store import Store
from tests.execution.smoke import STAGES, SUITE, check_same, copied, finished, mounted
from tests.execution.warm import start
from tests.robustness.attacks import Attacks, sizes

pytestmark = pytest.mark.slow

FRACTIONS = (0.05, 0.3, 0.6, 0.85, 0.97)
"""The sizes of the disks, as parts of what a run takes."""


def resize(disk: Path, size: int | str) -> None:
    """Give a mounted file system another size in bytes."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def fill(disk: Path, undisturbed: Path, kinds: tuple[str, ...], fraction: float) -> None:
    """Copy a run without artifacts of `kinds` and results; leave `fraction` of the room that they take."""
    copied(undisturbed, disk)
    whole = shutil.disk_usage(disk).used
    for folder in (disk / "results", *(disk / "store" / "artifacts" / kind for kind in kinds)):
        shutil.rmtree(folder)
    used = shutil.disk_usage(disk).used
    resize(disk, used + int(fraction * (whole - used)))


def check_whole(folder: Path) -> None:
    """Check that every artifact of a store is whole."""
    store = Store(folder / "store")
    for manifest in finished(folder):
        assert store.damage(*manifest.parts[-3:-1], thorough=True) is None, manifest


@sizes(short=1, long=len(FRACTIONS))
def test_a_full_disk_is_a_sentence_and_more_room_is_enough(
    attacks: Attacks, undisturbed: Path, tmp_path: Path, count: int
) -> None:
    fractions, kinds = (iter(FRACTIONS), STAGES) if count > 1 else (iter([0.9]), STAGES[-1:])

    def attempt(chance: Random) -> None:
        fraction = next(fractions)
        said = str(tmp_path / f"said {fraction}")
        with mounted(tmp_path / f"disk {fraction}", "size=1g") as disk:
            fill(disk, undisturbed, kinds, fraction)
            run = start(disk, SUITE, name=said)
            code, err = run.finish(), run.err
            assert code == 2, err
            assert "No space left on device" in err
            assert "Traceback" not in err
            check_whole(disk)
            before = finished(disk)
            resize(disk, "1g")
            again = start(disk, SUITE, name=f"{said} again")
            assert again.finish() == 0, again.err
            assert before.items() <= finished(disk).items(), "what was finished was made again"
            check_same(undisturbed, disk)

    attacks("full disks", count, attempt, seconds=300)
