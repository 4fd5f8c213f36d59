"""The losses of a training, which stay on the device until they are looked at."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

LOOK_EVERY = {"cpu": 1, "cuda": 20}
"""The steps after which losses are looked at, by device; also before each evaluation and checkpoint."""


class LossLog:
    """Collects losses without waiting for the device.

    Attributes:
        last: The last loss that was looked at; NaN before the first look.
    """

    def __init__(self) -> None:
        self.last = math.nan
        self._unseen: list[tuple[int, Tensor]] = []
        self._sums: dict[str, Tensor | float] = {}
        self._summed = 0

    def add_loss(self, step: int, loss: Tensor) -> None:
        """Keep the loss of an update of a step, to be looked at."""
        self._unseen.append((step, loss.detach()))

    def add_terms(self, terms: Mapping[str, Tensor]) -> None:
        """Add the terms of the losses of a step to their sums, in float64 as numbers of Python are."""
        self._sums = {name: self._sums.get(name, 0.0) + value.double() for name, value in terms.items()}
        self._summed += 1

    def look(self) -> tuple[int, float] | None:
        """Look at the losses since the last look; return the first that is not finite, with its step."""
        if not self._unseen:
            return None
        values = torch.stack([loss for _, loss in self._unseen]).tolist()
        steps = [step for step, _ in self._unseen]
        self._unseen.clear()
        self.last = values[-1]
        found = zip(steps, values, strict=True)
        return next(((step, value) for step, value in found if not math.isfinite(value)), None)

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
