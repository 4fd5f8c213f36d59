"""The losses of a training, which stay on the device until they are looked at."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pipeline.core.step_losses import StepLosses, first_not_finite


class LossLog:
    """Collects losses without waiting for the device.

    Attributes:
        last: The last loss that was looked at; NaN before the first look.
    """

    def __init__(self) -> None:
        self.last = math.nan
        self._losses = StepLosses()
        self._sums: dict[str, Tensor | float] = {}
        self._summed = 0

    def add_loss(self, step: int, loss: Tensor) -> None:
        """Keep the loss of an update of a step, to be looked at."""
        self._losses.add(step, [loss])

    def add_terms(self, terms: Mapping[str, Tensor]) -> None:
        """Add the terms of the losses of a step to their sums, in float64 as numbers of Python are."""
        self._sums = {name: self._sums.get(name, 0.0) + value.double() for name, value in terms.items()}
        self._summed += 1

    def look(self) -> tuple[int, float] | None:
        """Look at the losses since the last look; return the first that is not finite, with its step."""
        if looked_at := self._losses.look():
            _, (self.last,) = looked_at[-1]
        return first_not_finite(looked_at)

    def take_means(self) -> dict[str, float]:
        """Return the mean of each term since the last call."""
        means = {name: float(value) / self._summed for name, value in self._sums.items()}
        self._sums, self._summed = {}, 0
        return means

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"sums": {name: float(value) for name, value in self._sums.items()}, "summed": self._summed}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._sums, self._summed = dict(state["sums"]), state["summed"]
