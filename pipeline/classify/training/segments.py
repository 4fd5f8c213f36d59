"""The stretches of a training between which a method looks at all images: phases, divided by their looks."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.classify.method import Method, Phase
from pipeline.config import TrainSettings
from pipeline.core.errors import UserError


@dataclass(frozen=True)
class Segment:
    """Steps of one phase that follow one another, without a look in between.

    Attributes:
        phase: The phase.
        number: The number of segments of the phase before this one, and of its looks.
        start: The first step, from 0.
        stop: The step after the last.
        phase_start: The first step of the phase.
        phase_stop: The step after the last of the phase.
    """

    phase: Phase
    number: int
    start: int
    stop: int
    phase_start: int
    phase_stop: int


def segments(method: Method, settings: TrainSettings) -> list[Segment]:
    """Divide the steps of a training by the phases of `method` and their looks.

    A phase with fewer steps than looks has a look before each.

    Raises:
        UserError: The phases are impossible, or one of them has no step.
    """
    iterations, phases = settings.iterations, method.phases()
    _check(method, phases)
    found, share = [], 0.0
    for place, phase in enumerate(phases):
        start = round(share * iterations)
        share += phase.share
        stop = iterations if place == len(phases) - 1 else round(share * iterations)
        if stop == start:
            raise UserError(
                f"method {method.name}: phase {phase.name!r} has none of {iterations} steps; raise "
                "train.iterations"
            )
        parts = min(max(1, phase.looks), stop - start)
        bounds = [start + (stop - start) * part // parts for part in range(parts + 1)]
        found += [
            Segment(phase, number, bounds[number], bounds[number + 1], start, stop) for number in range(parts)
        ]
    return found


def _check(method: Method, phases: Sequence[Phase]) -> None:
    """Raise UserError for phases that no training can have."""
    problem = None
    if not phases or abs(sum(phase.share for phase in phases) - 1) > 1e-6:
        problem = f"the shares of its phases sum to {sum(phase.share for phase in phases):g}, not to 1"
    elif not all(phase.share > 0 for phase in phases):
        problem = "a phase has a share that is not above 0"
    elif not any(phase.uses_labelled for phase in phases):
        problem = "no phase trains on labelled images, from which the classes are learned"
    elif not all(phase.uses_labelled or (phase.uses_target and method.uses_target) for phase in phases):
        problem = "a phase trains on no images at all"
    if problem:
        raise UserError(f"method {method.name}: {problem}; see Method.phases")
