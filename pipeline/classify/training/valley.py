"""Which segments of a training SWAD averages, found in the held-out losses of its evaluations.

The iterates between two evaluations are a segment, which the later evaluation stands for. J. Cha, S. Chun,
K. Lee, H.-C. Cho, S. Park, Y. Lee, S. Park, "SWAD: Domain Generalization by Seeking Flat Minima", NeurIPS
2021, gives the rule as algorithm 1. The code that its authors published, khanrc/swad, `domainbed/swad.py`,
class `LossValley`, follows another one, which gave the published numbers.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import Swad


@dataclass(frozen=True)
class Valley:
    """The evaluations, counted from 0, between which the held-out loss is in its valley.

    Attributes:
        start: The first evaluation in the valley.
        end: The last one; None as long as the valley lasts.
    """

    start: int
    end: int | None


@dataclass(frozen=True)
class Choice:
    """The segments of an average, as far as the evaluations so far decide them.

    Attributes:
        added: The segments that are in the average for certain. Later evaluations only append to them.
        final: The segments of the average if training stops here, which start with `added`; None if it is
            not to be averaged.
        kept: The other segments that may still enter the average.
        ended: Whether no later segment can enter the average.
        converged: Whether the loss has converged.
    """

    added: list[int]
    final: list[int] | None
    kept: set[int]
    ended: bool = False
    converged: bool = True


def choose(losses: Sequence[float], rule: Swad) -> Choice:
    """Choose segments by the held-out losses of the evaluations so far, as `rule.valley` says."""
    return _choose_as_authors(losses, rule) if rule.valley == "authors" else _choose_as_paper(losses, rule)


def find_valley(losses: Sequence[float], rule: Swad) -> Valley | None:
    """Find the valley of algorithm 1 in the held-out losses of the evaluations so far; None if there is none.

    The valley starts with the first loss that is the least of itself and the n_converge - 1 after it. The
    threshold is the mean of these n_converge, times 1 + tolerance_ratio. Once the least of the last
    n_tolerance losses is above the threshold, the valley has ended, with the loss before those. Since the
    first loss is below the threshold, the valley never ends before it starts.
    """
    start = _first_least(losses, rule.n_converge)
    if start is None:
        return None
    threshold = _threshold(losses, start, rule)
    for seen in range(start + rule.n_converge + 1, len(losses) + 1):
        if min(losses[max(0, seen - rule.n_tolerance) : seen]) > threshold:
            return Valley(start, seen - rule.n_tolerance - 1)
    return Valley(start, None)


def _first_least(losses: Sequence[float], length: int) -> int | None:
    """The first loss that is the least of the `length` losses from it on; None if there is none."""
    windows = [losses[first : first + length] for first in range(len(losses) - length + 1)]
    return next((first for first, window in enumerate(windows) if window[0] == min(window)), None)


def _threshold(losses: Sequence[float], start: int, rule: Swad) -> float:
    """The loss above which the valley has ended."""
    return sum(losses[start : start + rule.n_converge]) / rule.n_converge * (1 + rule.tolerance_ratio)


def _choose_as_paper(losses: Sequence[float], rule: Swad) -> Choice:
    """Choose all segments from the start of the valley to its end."""
    valley, count = find_valley(losses, rule), len(losses)
    if valley is None:
        return Choice([], None, set(range(max(0, count - rule.n_converge + 1), count)), converged=False)
    if valley.end is not None:
        added = list(range(valley.start, valley.end + 1))
        return Choice(added, added, set(), ended=True)
    certain = max(valley.start, count - rule.n_tolerance + 1)
    chosen = list(range(valley.start, count))
    return Choice(list(range(valley.start, certain)), chosen, set(range(certain, count)))


def _choose_as_authors(losses: Sequence[float], rule: Swad) -> Choice:
    """Choose segments as the authors' code does; it can name a segment twice.

    The code looks at the last n_tolerance segments. When the loss has converged, it adds those of them before
    the window of n_converge, and the first one in that window, but only what follows the last loss above the
    threshold, and of that not the first. After every later evaluation it adds the oldest segment it looks at,
    unless the least loss is above the threshold. Thereby it adds the segment with which the valley starts a
    second time. At the end of training it leaves out the oldest segment, and adds the others until the least
    of the losses that remain is above the threshold. If it added nothing, the first segment of the valley is
    the average; if the loss never converged, the last segment is.
    """
    start, count = _first_least(losses, rule.n_converge), len(losses)
    recent = max(rule.n_converge, rule.n_tolerance)
    if start is None:
        return Choice([], [count - 1], set(range(max(0, count - recent), count)), converged=False)
    threshold, converged = _threshold(losses, start, rule), start + rule.n_converge
    added = _added_at_convergence(losses, start, threshold, rule)
    for seen in range(converged + 1, count + 1):
        looked_at = range(max(0, seen - rule.n_tolerance), seen)
        if looked_at[0] < start:
            continue
        if min(losses[looked_at[0] : seen]) > threshold:
            return Choice(added, added or [start], {start} - set(added), ended=True)
        added.append(looked_at[0])
    left = deque(range(max(0, count - rule.n_tolerance) + 1, count))
    tail = []
    while left and min(losses[left[0] : count]) <= threshold:
        tail.append(left.popleft())
    kept = set(range(max(0, count - recent), count)) | {start}
    return Choice(added, added + tail or [start], kept)


def _added_at_convergence(losses: Sequence[float], start: int, threshold: float, rule: Swad) -> list[int]:
    """The segments that the authors' code adds in the evaluation at which the loss has converged."""
    surplus = rule.n_tolerance - rule.n_converge
    if surplus < 0:
        return list(range(start + 1, start + 1 - surplus))
    if surplus == 0:
        return []
    seen = start + rule.n_converge
    looked_at = list(range(max(0, seen - rule.n_tolerance), seen))[: surplus + 1]
    high = [place for place, segment in enumerate(looked_at) if losses[segment] > threshold]
    return looked_at[(high[-1] + 1 if high else 0) + 1 :]
