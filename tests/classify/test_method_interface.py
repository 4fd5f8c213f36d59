"""Layers, groups of parameters and updates of a method's own, by the example of the documentation."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.classify import plugins, registry
from pipeline.classify.method import ParameterGroup, Update
from pipeline.classify.training.loop import Loop
from pipeline.classify.training.optimizers import make_optimizer
from pipeline.classify.training.stage import _make_loop
from pipeline.core.errors import UserError
from pipeline.core.paths import ROOT
from tests.classify.train_samples import killed_and_resumed, parameters, products

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def critic(tmp_path: Path) -> Iterator[None]:
    """The method Critic of docs/extend/method.md is in use."""
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "extend" / "method.md").read_text(), re.DOTALL
    )
    (text,) = [block for block in blocks if '@method("Critic")' in block]
    (tmp_path / "critic.py").write_text(text)
    registry.use([plugins.given(tmp_path / "critic.py")])
    yield
    registry.use([])


@pytest.fixture
def loop(prepared: Make, tmp_path: Path) -> Loop:
    choice = parameters(method="Critic", optimizer="sgd", learning_rate=0.1, bottleneck=8)
    made = _make_loop(choice, prepared(), {}, tmp_path / "checkpoint")
    made.network.train()
    return made


def changed(loop: Loop, update: Update | None = None) -> set[str]:
    """The groups of parameters whose weights a step changes, if it has the one update alone."""
    if update is not None:
        loop.method.updates = lambda: (update,)

    def weights() -> dict[str, Tensor]:
        groups = loop.optimizer.param_groups
        return {group["name"]: nn.utils.parameters_to_vector(group["params"]).clone() for group in groups}

    before = weights()
    loop._step(*loop._batch(loop.done))
    return {name for name, value in weights().items() if not torch.equal(value, before[name])}


def test_each_update_changes_its_groups_alone(loop: Loop) -> None:
    critic, network = loop.method.updates()
    assert changed(loop, critic) == {"method"}
    assert changed(loop, network) == {"backbone", "bottleneck", "head"}
    assert changed(loop, critic) == {"method"}  # the momentum of the others does not move them


def test_groups_that_are_not_there_or_overlap_are_refused(loop: Loop) -> None:
    method, network, settings = loop.method, loop.network, loop.settings
    groups = method.parameter_groups(network)
    method.parameter_groups = lambda network: [*groups, ParameterGroup("mine", [network.head[1].bias])]
    with pytest.raises(
        UserError, match=r"^method Critic: parameter_groups returns a weight twice, in 'head' and"
    ):
        make_optimizer(network, method, settings)
    method.parameter_groups = lambda network: groups
    method.updates = lambda: (Update("all", ("backbone", "heads")),)
    words = r"^method Critic: update 'all' names the group 'heads', which .*; did you mean 'head'\?$"
    with pytest.raises(UserError, match=words):
        make_optimizer(network, method, settings)


def test_a_step_has_all_updates_and_one_rate(loop: Loop) -> None:
    rates: list[Any] = []
    loop.lr_scheduler.step = lambda: rates.append(loop.losses.state()["summed"])
    assert changed(loop) == {"method", "backbone", "bottleneck", "head"}
    assert rates == [0]
    assert loop.losses.state()["sums"].keys() == {"critic", "task", "confusion"}


def test_layers_and_rates_are_the_methods(loop: Loop) -> None:
    assert [type(layer) for layer in loop.network.head] == [nn.Dropout, nn.Linear]
    rates = {group["name"]: group["lr"] for group in loop.optimizer.param_groups}
    assert rates == pytest.approx({"backbone": 0.1, "bottleneck": 0.1, "head": 0.1, "method": 0.3})


def test_updates_draw_dropout_of_their_own(loop: Loop) -> None:
    draws = []
    loop.network.head.register_forward_hook(lambda module, inputs, output: draws.append(torch.rand(1).item()))
    loop._step(*loop._batch(loop.done))
    assert len(set(draws)) == 2


def test_it_goes_on_after_a_kill(tmp_path: Path, train: Make, prepared: Make) -> None:
    inputs = {"data": prepared()}
    choice = {"method": "Critic", "optimizer": "sgd", "learning_rate": 0.05}
    assert killed_and_resumed(choice, inputs, tmp_path / "killed", 8) == products(train(inputs, **choice))
