"""What the trainings of ``mini`` share: learning rates, checkpoints, and progress on the screen."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from pipeline.core.lr_schedule import Schedule, cosine, warmup

CHECKPOINT_EVERY = 200
"""Steps between checkpoints."""


def one_cycle(steps: int) -> Schedule:
    """Rise linearly over the first twentieth of `steps`, then fall to zero along half a cosine."""
    rising = max(1, steps // 20)
    return warmup(rising, cosine(steps - rising))


def save(state: object, path: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def steps_from(first: int, last: int, name: str) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield each step from `first` up to `last`, with a dictionary for the loop's measurements.

    Every 50 steps the means of these measurements are printed.
    """
    started, measured = time.perf_counter(), []
    for step in range(first, last):
        values: dict[str, float] = {}
        yield step, values
        measured.append(values)
        if len(measured) == 50 or step + 1 == last:
            means = "  ".join(f"{key} {np.mean([v[key] for v in measured]):.4f}" for key in values)
            pace = (time.perf_counter() - started) / (step + 1 - first)
            left = pace * (last - step - 1) / 60
            print(f"{name} {step + 1}/{last}  {means}  {pace:.2f} s/step  {left:.0f} min left", flush=True)
            measured.clear()
