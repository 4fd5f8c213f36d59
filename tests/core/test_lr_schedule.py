"""Learning rates of all trainings: the formulas written out here, bit for bit, and resumed."""

import math
import warnings
from collections.abc import Callable

import pytest
import torch

from pipeline.classify.training import optimizers
from pipeline.config import FinetuneSettings, TrainSettings
from pipeline.core.lr_schedule import Schedule, constant, cosine, schedule_rates, warmup
from pipeline.diffusion.finetune import trainer
from pipeline.diffusion.mini.loop import one_cycle

RATES = (1e-3, 3e-4)


def make_optimizer() -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": rate} for rate in RATES]
    return torch.optim.Adam(groups)


def scheduled_rates(schedule: Schedule, steps: int, done: int = 0) -> list[tuple[float, ...]]:
    """The rates of both groups at the steps from `done` to `steps`, as a training sees them."""
    optimizer = make_optimizer()
    scheduler = schedule_rates(optimizer, schedule, done)
    rates = []
    for _ in range(done, steps):
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        scheduler.step()
    return rates


def finetuning(settings: FinetuneSettings) -> Callable[[int], float]:
    def factor(step: int) -> float:
        if step < settings.warmup:
            return (step + 1) / settings.warmup
        if settings.schedule == "constant":
            return 1.0
        share = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
        return 0.5 * (1 + math.cos(math.pi * share))

    return factor


def one_cycle_by_hand(steps: int) -> Callable[[int], float]:
    rising = max(1, steps // 20)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))

    return factor


TRAINING = TrainSettings(backbone="digits_cnn", iterations=700)
FINETUNING = FinetuneSettings(steps=700, schedule="cosine")


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        (
            optimizers.rate_schedule(TRAINING.model_copy(update={"schedule": "cosine"}), 700),
            lambda step: 0.5 * (1 + math.cos(math.pi * step / 700)),
        ),
        (optimizers.rate_schedule(TRAINING, 700), lambda step: (1 + 1e-3 * step) ** -0.75),
        (
            optimizers.rate_schedule(TRAINING.model_copy(update={"schedule": "constant"}), 700),
            lambda step: 1.0,
        ),
        *(
            (trainer.rate_schedule(settings), finetuning(settings))
            for settings in (
                FINETUNING,
                FINETUNING.model_copy(update={"warmup": 33}),
                FINETUNING.model_copy(update={"warmup": 33, "schedule": "constant"}),
                FINETUNING.model_copy(update={"warmup": 700}),
            )
        ),
        (one_cycle(700), one_cycle_by_hand(700)),
    ],
)
def test_rates_are_the_formula_bit_for_bit(schedule: Schedule, factor: Callable[[int], float]) -> None:
    expected = [tuple(rate * factor(step) for rate in RATES) for step in range(700)]
    assert scheduled_rates(schedule, 700) == expected
    assert scheduled_rates(schedule, 700, done=250) == expected[250:]


def test_an_optimizer_that_has_a_schedule_keeps_the_rates_that_it_was_made_with() -> None:
    optimizer, schedule = make_optimizer(), warmup(3, cosine(7))
    schedule_rates(optimizer, schedule)
    schedule_rates(optimizer, schedule, done=5)
    assert [group["lr"] for group in optimizer.param_groups] == [rate * schedule(5) for rate in RATES]


def test_trainings_of_one_step_end() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for schedule in (constant, cosine(1), one_cycle(1)):
            assert scheduled_rates(schedule, 1) == [RATES]
