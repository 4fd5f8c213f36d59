"""Two steps of methods that pass target images more than once, or train on the target alone.

As in test_golden.py, losses, weights and BatchNorm's statistics are those of the authors' code.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pipeline.classify.training.draws import Drawn
from pipeline.classify.training.loop import Loop
from pipeline.classify.training.optimizers import rate_schedule
from pipeline.core.lr_schedule import schedule_rates
from tests.classify import golden_samples as golden
from tests.classify.golden_samples import FEATURES, FIRST, HIDDEN, IMAGES, batch, fill, labels
from tests.classify.methods.test_golden import STEPS, TOLERANCE, Case, compare, modules, trained

pytestmark = pytest.mark.usefixtures("float64")

SMOOTH = {"hidden": HIDDEN, "warm_up_steps": 1000, "rho": 0.02, "temperature": 2.0, "both_statistics": True}

BOTH = {
    "fixmatch": Case("FixMatch", {"threshold": 0.5}, {"learning_rate": 0.003, "inverse_gamma": 4e-4}),
    "mic": Case("MIC", SMOOTH | {"block": 1}, {"learning_rate": 0.01}, "discriminator"),
}


@pytest.mark.parametrize("name", BOTH)
def test_more_passes_of_the_target(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without FixMatch's statistics: the library passes weak views first, and we the labelled images."""
    case = BOTH[name]
    loop = trained(case, golden.Backbone(), domains=1, bottleneck=FEATURES, **case.settings)
    parts = modules(loop, case)
    fill(**parts)
    if name == "mic":
        loop.method.teacher.network.load_state_dict(loop.network.state_dict())
    loop.done = FIRST
    loop.lr_scheduler = schedule_rates(loop.optimizer, rate_schedule(loop.settings, 1), FIRST)
    loop.network.train()
    masks = iter(range(STEPS))

    def rand(shape: tuple[int, ...], device: object) -> Tensor:
        return torch.sigmoid(torch.from_numpy(golden.numbers(f"mask {next(masks)}", *shape)))

    monkeypatch.setattr(torch, "rand", rand)
    with golden.controlled(monkeypatch) as losses:
        for step in range(STEPS):
            views = {"strong": batch("strong", step)}
            images = torch.cat([batch("source", step), batch("target", step)])
            loop._step(images, labels(step), Drawn(views=views))
            loop.done += 1
    compare("uda_methods", name, losses, without="statistics" if name == "fixmatch" else None, **parts)


class Target:
    """Ten target images, whose indices are those of two batches."""

    def __len__(self) -> int:
        return 2 * IMAGES

    def batches(self, size: int) -> Iterator[Tensor]:
        return iter([batch("target", 0), batch("target", 1)])


SOURCE_FREE = {
    "shot": Case("SHOT", {}, {"learning_rate": 0.01, "inverse_gamma": 10 / 300}),
    "nrc": Case("NRC", {}, {"learning_rate": 0.001, "weight_decay": 5e-4, "schedule": "constant"}),
}


@pytest.mark.parametrize("name", SOURCE_FREE)
def test_the_phase_on_the_target(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' first step has the number 1. NRC's weights are float32 there: 0.1 is off by 1.5e-9."""
    case = SOURCE_FREE[name]
    loop = trained(case, golden.Backbone(), domains=1, bottleneck=FEATURES, **case.settings)
    parts = modules(loop, case)
    fill(**parts)
    loop.target = Target()
    loop.network.train()
    phase = next(segment for segment in loop.segments if segment.phase.name == "target")
    loop.done = phase.start
    loop._enter(phase)
    loop.lr_scheduler = schedule_rates(loop.optimizer, rate_schedule(loop.settings, 1), 1)
    with golden.controlled(monkeypatch) as losses:
        for step in range(STEPS):
            places = torch.arange(IMAGES) + IMAGES * step
            loop._step(batch("target", step), torch.empty(0, dtype=torch.int64), Drawn(target_indices=places))
            loop.done += 1
    compare("uda_methods", name, losses, tolerance=1e-7 if name == "nrc" else TOLERANCE, **parts)


def test_nrc_looks_farther_in_the_second_half(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = trained(SOURCE_FREE["nrc"], golden.Backbone(), domains=1, bottleneck=FEATURES)
    loop.target = Target()
    phase = next(segment for segment in loop.segments if segment.phase.name == "target")
    loop.done = phase.start
    loop._enter(phase)
    asked: list[int] = []
    nearest = type(loop.method)._nearest

    def watched(self: nn.Module, features: Tensor, count: int) -> Tensor:
        asked.append(count)
        return nearest(self, features, count)

    monkeypatch.setattr(type(loop.method), "_nearest", watched)
    steps = phase.phase_stop - phase.start
    for done in (0, steps // 2, steps // 2 + 1):
        loop.done = phase.start + done
        step_of(loop)
    assert asked == [3, 2, 3, 2, 5, 4]


def step_of(loop: Loop) -> None:
    """A step on the first batch of the target."""
    drawn = Drawn(target_indices=torch.arange(IMAGES))
    loop._step(batch("target", 0), torch.empty(0, dtype=torch.int64), drawn)
