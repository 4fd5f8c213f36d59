"""What the loop does for a method's code, and the mistakes in it that are refused in words."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.classify import registry
from pipeline.classify.method import EMA, Look, Method, Phase, Step, Update, task_loss
from pipeline.classify.network import Network
from pipeline.classify.training.stage import _make_loop
from pipeline.core.errors import UserError
from tests.classify.train_samples import killed_and_resumed, parameters, products

Make = Callable[..., Path]
Run = Callable[[type[Method]], None]


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Method]], None]:
    """Puts a class in the place of MCC."""

    def put(kind: type[Method]) -> None:
        kind.name = "MCC"
        registry.load("MCC")
        monkeypatch.setitem(registry._loaded, "MCC", kind)

    return put


@pytest.fixture
def run(declare: Run, prepared: Make, tmp_path: Path) -> Run:
    """Trains by a class."""

    def trained(kind: type[Method], **changes: Any) -> None:
        declare(kind)
        loop = _make_loop(parameters(method="MCC", **changes), prepared(), {}, tmp_path / "checkpoint")
        loop.run(lambda *_: None)

    return trained


class Plain(Method):
    """The task's loss."""

    def losses(self, step: Step) -> dict[str, Tensor]:
        return {"task": task_loss(step)}


class KeepsNetwork(Plain):
    def begin(self, network: Network, domains: int) -> None:
        self.mine = network


class KeepsNetworkLater(Plain):
    def losses(self, step: Step) -> dict[str, Tensor]:
        self.mine = step.network
        return super().losses(step)


class KeepsTensor(Plain):
    def build(self, features: int, classes: int) -> None:
        self.centre = torch.zeros(features)


class KeepsArrays(Plain):
    def build(self, features: int, classes: int) -> None:
        self.seen = {"all": np.zeros(features)}


class KeepsCount(Plain):
    def build(self, features: int, classes: int) -> None:
        self.count = 0

    def losses(self, step: Step) -> dict[str, Tensor]:
        self.count += 1
        return super().losses(step)


class KeepsList(Plain):
    def build(self, features: int, classes: int) -> None:
        self.seen: list[int] = []

    def losses(self, step: Step) -> dict[str, Tensor]:
        self.seen.append(step.iteration)
        return super().losses(step)


class KeepsOptimizer(Plain):
    def build(self, features: int, classes: int) -> None:
        self.critic = nn.Linear(features, 1)
        self.adam = torch.optim.Adam(self.critic.parameters())


class KeepsGenerator(Plain):
    def build(self, features: int, classes: int) -> None:
        self.rng = np.random.default_rng(0)


class MakesLate(Plain):
    def losses(self, step: Step) -> dict[str, Tensor]:
        if not hasattr(self, "critic"):
            self.critic = nn.Linear(step.labelled.features.shape[1], 1)
        return super().losses(step)


class Writes(Plain):
    def losses(self, step: Step) -> dict[str, Tensor]:
        with torch.no_grad():
            step.network.head.weight.zero_()
        return super().losses(step)


class Silent(Plain):
    def losses(self, step: Step) -> dict[str, Tensor]:
        return {}


class Forgetful(Plain):
    def losses(self, step: Step) -> dict[str, Tensor]:
        super().losses(step)


class Detached(Plain):
    def losses(self, step: Step) -> dict[str, Tensor]:
        return {"task": task_loss(step).detach()}


class Wide(Plain):
    def losses(self, step: Step) -> dict[str, Tensor]:
        return {"task": step.labelled.logits}


class Infinite(Plain):
    def losses(self, step: Step) -> dict[str, Tensor]:
        return {"task": task_loss(step) / (0.0 if step.iteration else 1.0)}


class NoSource(Plain):
    def phases(self) -> list[Phase]:
        return [Phase("target", uses_labelled=False)]


class NoImages(Plain):
    def phases(self) -> list[Phase]:
        return [Phase("source", 0.5), Phase("none", 0.5, uses_labelled=False, uses_target=False)]


class HalfPhases(Plain):
    def phases(self) -> list[Phase]:
        return [Phase("source", 0.5)]


class NoSteps(Plain):
    def phases(self) -> list[Phase]:
        return [Phase("source", 0.99), Phase("target", 0.01)]


class UnknownGroup(Plain):
    def phases(self) -> list[Phase]:
        return [Phase("all", frozen=("heads",))]


REFUSED = {
    KeepsNetwork: r"the attribute 'mine' is the network in training.*use self\.forward, step\.network, or",
    KeepsNetworkLater: r"the attribute 'mine' is the network in training",
    KeepsTensor: r"the attribute 'centre' holds a tensor or an array.*self\.register_buffer",
    KeepsArrays: r"the attribute 'seen' holds a tensor or an array.*self\.register_buffer",
    KeepsCount: r"the attribute 'count' changed during training, and no checkpoint keeps it",
    KeepsList: r"the attribute 'seen' changed during training, and no checkpoint keeps it",
    KeepsOptimizer: r"the attribute 'adam' is an optimiser.*parameter_groups.*updates",
    KeepsGenerator: r"the attribute 'rng' is a generator of random numbers.*seeded for each step",
    MakesLate: r"'critic\.bias' was made after the first step began.*make it in build or begin",
    Writes: r"losses changed a weight of the network; return a loss instead, or do it in after_step",
    Silent: r"losses must return the terms of the loss by name, and at least one",
    Forgetful: r"losses must return the terms of the loss by name, and at least one",
    Detached: r"no term of losses depends on a weight",
    Wide: r"losses returned 'task', which is not a tensor of one number",
    Infinite: r"the loss became inf at step 2 of 12",
    NoSource: r"no phase trains on labelled images",
    NoImages: r"a phase trains on no images at all",
    HalfPhases: r"the shares of its phases sum to 0\.5, not to 1",
    NoSteps: r"phase 'target' has none of 12 steps; raise train\.iterations",
    UnknownGroup: r"phase 'all' names the group 'heads', which .*; did you mean 'head'\?$",
}


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_a_mistake_is_one_sentence_with_the_methods_name(run: Run, kind: type[Method]) -> None:
    with pytest.raises(UserError, match=rf"^method MCC: {REFUSED[kind]}"):
        run(kind)


def test_an_averaged_network_has_one_phase_and_no_teacher(run: Run) -> None:
    class Teaches(Plain):
        uses_target = False

        def begin(self, network: Network, domains: int) -> None:
            self.teacher = EMA(network, 0.9)

        def evaluated(self, network: Network) -> Network:
            return self.teacher.network

    with pytest.raises(UserError, match=r"^train\.averaging: swad averages one network over one phase"):
        run(Teaches, averaging="swad", evaluate_every=1)


class Noisy(Plain):
    """Draws from the generators of numpy and Python, and keeps a bank that grows."""

    def build(self, features: int, classes: int) -> None:
        self.register_buffer("bank", torch.zeros(0, features))

    def losses(self, step: Step) -> dict[str, Tensor]:
        _, target = step.halves
        self.bank = torch.cat([self.bank, target.features.detach()])
        noise = np.random.beta(0.5, 0.5) * random.random()
        pulled = (target.features - self.bank.mean(dim=0)).square().mean()
        return {"task": task_loss(step), "noise": 0.1 * noise * pulled}


def test_numpys_and_pythons_numbers_and_a_growing_buffer_survive_a_kill(
    declare: Run, train: Make, prepared: Make, tmp_path: Path
) -> None:
    declare(Noisy)
    inputs, chosen = {"data": prepared()}, {"method": "MCC", "iterations": 14}
    before = np.random.get_state()[1].tolist(), random.getstate()
    whole = products(train(inputs, **chosen))
    np.random.seed(5)
    assert killed_and_resumed(chosen, inputs, tmp_path / "killed", 3, 8, 13) == whole
    random.setstate(before[1])


def test_a_second_pass_moves_statistics_only_when_asked_to(
    declare: Run, prepared: Make, tmp_path: Path
) -> None:
    """And it is the network's own pass: without dropout it equals that of the loop."""

    class Twice(Plain):
        moves = False

        def losses(self, step: Step) -> dict[str, Tensor]:
            images = torch.cat([step.images, step.target_images])
            again = self.forward(images, update_statistics=self.moves)
            assert torch.equal(again.logits[: len(step.labels)], step.labelled.logits)
            assert torch.equal(again.features[len(step.labels) :], step.target.features)
            return super().losses(step)

    def statistics(kind: type[Method], moves: bool = False) -> list[Tensor]:
        declare(kind)
        kind.moves = moves
        loop = _make_loop(parameters(method="MCC", bottleneck=8), data, {}, tmp_path / "checkpoint")
        loop.network.train()
        loop._step(*loop._batch(0))
        return [buffer.clone() for buffer in loop.network.buffers()]

    data = prepared()
    once, kept, moved = statistics(Plain), statistics(Twice), statistics(Twice, moves=True)
    assert all(map(torch.equal, once, kept))
    assert not all(map(torch.equal, once, moved))


def test_looks_are_evenly_spaced_and_see_every_image_in_order(
    declare: Run, prepared: Make, tmp_path: Path
) -> None:
    seen = []

    class Looks(Plain):
        def phases(self) -> list[Phase]:
            return [Phase("one", 0.25, looks=1), Phase("two", 0.75, looks=3)]

        def look(self, look: Look) -> None:
            outputs, labels = look.labelled()
            with torch.no_grad():
                look.network.eval()
                images = loop.target.images()
                expected = look.network(images)[1]
                look.network.train()
            torch.testing.assert_close(look.target().logits, expected, rtol=1e-4, atol=1e-5)
            assert torch.equal(labels, loop.labelled.source.labels)
            assert len(outputs.features) == len(labels)
            seen.append((look.phase, look.number, loop.done))

    declare(Looks)
    loop = _make_loop(parameters(method="MCC"), prepared(), {}, tmp_path / "checkpoint")
    loop.run(lambda *_: None)
    assert seen == [("one", 0, 0), ("two", 0, 3), ("two", 1, 6), ("two", 2, 9)]


def test_progress_and_learning_rates_start_anew_in_each_phase(
    declare: Run, prepared: Make, tmp_path: Path
) -> None:
    told, rates = [], []

    class Told(Plain):
        def phases(self) -> list[Phase]:
            return [Phase("one", 0.25), Phase("two", 0.75, lr_factor=0.5)]

        def losses(self, step: Step) -> dict[str, Tensor]:
            told.append((step.phase, step.iteration, step.progress))
            rates.append(loop.optimizer.param_groups[0]["lr"])
            return super().losses(step)

    declare(Told)
    loop = _make_loop(parameters(method="MCC"), prepared(), {}, tmp_path / "checkpoint")
    loop.run(lambda *_: None)
    assert told == [("one", i, i / 3) for i in range(3)] + [("two", i, i / 9) for i in range(9)]
    cosine = [0.5 * (1 + np.cos(np.pi * i / 3)) for i in range(3)]
    cosine += [0.25 * (1 + np.cos(np.pi * i / 9)) for i in range(9)]
    assert rates == pytest.approx([3e-3 * factor for factor in cosine])


def test_after_step_follows_the_last_update(declare: Run, prepared: Make, tmp_path: Path) -> None:
    calls = []

    class Counts(Plain):
        def updates(self) -> list[Update]:
            return [Update("a"), Update("b")]

        def losses(self, step: Step) -> dict[str, Tensor]:
            calls.append(step.update)
            return super().losses(step)

        def after_step(self, network: Network) -> None:
            calls.append("after")

    declare(Counts)
    loop = _make_loop(parameters(method="MCC", iterations=2), prepared(), {}, tmp_path / "checkpoint")
    loop.run(lambda *_: None)
    assert calls == ["a", "b", "after"] * 2


def test_a_teacher_is_the_moving_average_of_weights() -> None:
    random_ = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    teacher, momentum = EMA(network, 0.6), 0.6
    expected = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    for update in range(1, 6):
        with torch.no_grad():
            for weight in network.parameters():
                weight.copy_(torch.randn(weight.shape, generator=random_, dtype=weight.dtype))
            network[1].running_mean.add_(1)
        teacher.update(network)
        new = nn.utils.parameters_to_vector(network.parameters()).detach()
        share = min(momentum, 1 - 1 / (update + 1))
        expected = share * expected + (1 - share) * new
        found = nn.utils.parameters_to_vector(teacher.network.parameters())
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(teacher.network[1].running_mean, network[1].running_mean)
    assert not any(weight.requires_grad for weight in teacher.parameters())
