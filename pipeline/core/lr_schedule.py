"""Learning-rate schedules of all trainings, as factors of the rates that an optimiser was made with.

A schedule is a function of the step alone, from 0. Nothing has to be kept of it to resume a training:
`schedule_rates` takes the number of steps that are done.
"""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Schedule = Callable[[int], float]
"""The factor on the learning rate at a step, which is counted from 0."""


def constant(step: int) -> float:
    """Keep the rate: a factor of 1 at every step."""
    return 1.0


def half_cosine(angle: float) -> float:
    """Fall from 1 at angle 0 to 0 at angle pi: (1 + cos(angle)) / 2."""
    return 0.5 * (1 + math.cos(angle))


def cosine(steps: int) -> Schedule:
    """Fall from 1 at step 0 to 0 at step `steps`, along half a cosine."""
    return lambda step: half_cosine(math.pi * step / max(1, steps))


def inverse(gamma: float) -> Schedule:
    """Fall as (1 + gamma * step)^-0.75, as the transfer-learning library does (Ganin et al., JMLR 2016)."""
    return lambda step: (1 + gamma * step) ** -0.75


def warmup(steps: int, then: Schedule) -> Schedule:
    """Rise linearly over `steps` steps, from 1 / steps to 1, and go on with `then`, whose step 0 follows."""
    return lambda step: (step + 1) / steps if step < steps else then(step - steps)


def schedule_rates(optimizer: Optimizer, schedule: Schedule, done: int = 0) -> LambdaLR:
    """Set the learning rates of the step after `done` steps; `.step()` of the scheduler sets later ones.

    Args:
        optimizer: Its groups hold the rates that factors are applied to: `initial_lr`, or at first `lr`.
        schedule: The factor at each step.
        done: The steps that are done, of a training that is resumed.
    """
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(optimizer, schedule, last_epoch=done - 1)
