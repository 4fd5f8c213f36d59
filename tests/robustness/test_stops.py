"""Ctrl-C and SIGTERM at random moments: the run says how to go on, and goes on to the same bytes."""

import shutil
import signal
import time
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.execution.smoke import STAGES, SUITE, check_same, copied, finished, under_way
from tests.execution.warm import start
from tests.robustness.attacks import Attacks, sizes
from tests.robustness.processes import check_none_left

pytestmark = pytest.mark.slow

LONGEST = 4.0
"""Seconds after which a run is stopped at the latest."""


@sizes(short=1, long=10)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_says_so_and_goes_on_to_the_same_bytes(
    attacks: Attacks, undisturbed: Path, tmp_path: Path, how: signal.Signals, count: int
) -> None:
    def attempt(chance: Random) -> None:
        folder = tmp_path / f"{chance.random()}"
        begun = chance.choice(STAGES if count > 1 else ("train",))
        copied(undisturbed, folder, begun)
        run = start(folder, SUITE)
        run.wait_for(partial(under_way, folder / "store", begun))
        time.sleep(chance.uniform(0, LONGEST))
        run.kill(how)
        code = run.finish()
        assert code in (0, 130), run.err
        assert (code == 130) == ("stopped; the same command goes on where it was" in run.err)
        assert "Traceback" not in run.out + run.err, run.err
        check_none_left(run)
        before = finished(folder)
        again = start(folder, SUITE, name="again")
        assert again.finish() == 0, again.err
        assert before.items() <= finished(folder).items(), "what was finished was made again"
        check_same(undisturbed, folder)
        shutil.rmtree(folder)

    attacks(f"stops by {how.name}", count, attempt, seconds=240)
