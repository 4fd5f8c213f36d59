"""kill -9 at random moments: of a whole run, of its parent, of a worker with a job, of an idle worker."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest

from pipeline.core import hardware
from tests.execution.smoke import STAGES, SUITE, check_same, copied, finished, under_way
from tests.execution.warm import Run, start
from tests.robustness.attacks import Attacks, sizes
from tests.robustness.processes import check_none_left, workers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
    pytest.mark.skipif(hardware.cpus() < 2, reason="with one core there is one worker, which is never idle"),
]

LONGEST = 6.0
"""Seconds after which a run is attacked at the latest; most stages of the suite take less."""

Attack = Callable[[Run, Path, Random], bool]
"""Attacks a run, and returns whether there was anything to attack."""


def kill_all(run: Run, store: Path, chance: Random) -> bool:
    """Kill the parent and all workers, as a power failure does."""
    run.kill(signal.SIGKILL)
    return True


def kill_parent(run: Run, store: Path, chance: Random) -> bool:
    """Kill the parent alone."""
    os.kill(run.process.pid, signal.SIGKILL)
    return True


def kill_worker(run: Run, store: Path, chance: Random, *, busy: bool) -> bool:
    """Kill a worker that has a job, or one that has none."""
    found = workers(run, store, busy=busy)
    if found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(found), signal.SIGKILL)
    return bool(found)


VICTIMS: dict[str, tuple[Attack, int]] = {
    "run": (kill_all, -signal.SIGKILL),
    "parent": (kill_parent, -signal.SIGKILL),
    "busy worker": (partial(kill_worker, busy=True), 0),
    "idle worker": (partial(kill_worker, busy=False), 0),
}
"""How to kill each victim, and how the run ends."""


@sizes(short=1, long=20)
@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_a_run_goes_on_to_the_same_bytes(
    attacks: Attacks, undisturbed: Path, tmp_path: Path, victim: str, count: int
) -> None:
    kill, end = VICTIMS[victim]
    stages = STAGES if count > 1 else ("train",)  # the short half makes no images
    if victim == "idle worker":
        stages = STAGES[:-1] if count > 1 else ("finetune",)

    def attempt(chance: Random) -> None:
        folder = tmp_path / f"{chance.random()}"
        begun = chance.choice(stages)
        copied(undisturbed, folder, *{begun, "train"})
        before = finished(folder)
        run = start(folder, SUITE, "--workers", "2")
        run.wait_for(partial(under_way, folder / "store", begun))
        time.sleep(chance.uniform(0, LONGEST if begun != "train" else LONGEST / 2))
        while not run.over() and not kill(run, folder / "store", chance):
            time.sleep(0.01)
        code = run.finish()
        assert code in (0, end), run.err
        assert "Traceback" not in run.out + run.err, run.err
        before |= finished(folder)
        again = start(folder, SUITE, "--workers", "2", name="again")
        assert again.finish() == 0, again.err
        assert "Traceback" not in again.out + again.err, again.err
        for each in (run, again):
            check_none_left(each)
        assert before.items() <= finished(folder).items(), "what was finished was made again"
        check_same(undisturbed, folder)
        shutil.rmtree(folder)

    attacks(f"kill -9 of the {victim}", count, attempt, seconds=240)
