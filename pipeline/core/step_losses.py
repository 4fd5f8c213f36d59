"""The losses of training steps, which stay on the device until they are looked at."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LOOK_EVERY = {"cpu": 1, "cuda": 20}
"""The steps after which losses are looked at, by device: to look is to wait for a GPU."""


class StepLosses:
    """Collects the losses of steps without waiting for the device."""

    def __init__(self) -> None:
        self._unseen: list[tuple[int, Tensor]] = []

    def add(self, step: int, losses: Sequence[Tensor]) -> None:
        """Keep the losses of a step, which are scalars."""
        self._unseen.append((step, torch.stack([loss.detach() for loss in losses])))

    def look(self) -> list[tuple[int, list[float]]]:
        """Return the losses since the last look, each with its step."""
        if not self._unseen:
            return []
        values = torch.stack([losses for _, losses in self._unseen]).tolist()
        steps = [step for step, _ in self._unseen]
        self._unseen.clear()
        return list(zip(steps, values, strict=True))


def first_not_finite(looked_at: Sequence[tuple[int, list[float]]]) -> tuple[int, float] | None:
    """Return the first step with a loss that is NaN or infinite, and that loss; None if there is none."""
    found = ((step, loss) for step, losses in looked_at for loss in losses if not math.isfinite(loss))
    return next(found, None)
