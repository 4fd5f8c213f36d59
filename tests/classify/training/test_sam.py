"""Sharpness-aware steps against two explicit gradient evaluations."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.classify.training import sam
from pipeline.classify.training.loop import Loop
from pipeline.classify.training.sam import perturbed
from pipeline.classify.training.stage import _make_loop
from tests.classify.train_samples import parameters

Make = Callable[..., Path]


def test_the_weights_move_along_the_gradient_and_back() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    images = torch.tensor([[0.3, -1.0, 0.7], [1.1, 0.2, -0.4]])
    before = [weight.detach().clone() for weight in network.parameters()]
    loss = network(images).square().mean()
    gradient = torch.autograd.grad(loss, [*network.parameters()], retain_graph=True)
    length = np.sqrt(sum((g.numpy() ** 2).sum() for g in gradient))
    with perturbed(network, loss, rho=0.1):
        for weight, old, g in zip(network.parameters(), before, gradient, strict=True):
            np.testing.assert_allclose(weight.detach(), old + 0.1 * g / length, atol=1e-6)
    assert all(map(torch.equal, network.parameters(), before))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("spoilt", [None, 0.0, torch.inf, torch.nan])
def test_the_move_that_waits_for_no_norm_is_the_same(spoilt: float | None) -> None:
    """A gradient of zeros moves nothing, nor does one that overflowed."""
    random = torch.Generator().manual_seed(0)
    sides = [[torch.randn(4, generator=random) for _ in range(3)] for _ in range(2)]
    weights, gradients = sides
    if spoilt is not None:
        gradients = [spoilt * gradient for gradient in gradients]
    norm, moved = torch.cat(gradients).norm(), []
    for move in (sam._move_on_cpu, sam._move_on_gpu):
        moved.append([weight.clone() for weight in weights])
        move(moved[-1], gradients, norm, 0.3, 0.01)
    assert torch.equal(moved[0][0], weights[0]) == (spoilt is not None)
    for one, other in zip(*moved, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=8 * torch.finfo(torch.float64).eps)


def test_the_weights_come_back_after_an_error_and_zero_gradients_move_nothing() -> None:
    network = nn.Linear(2, 1)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(KeyError), perturbed(network, network(torch.ones(1, 2)).sum(), rho=3.0):
        raise KeyError
    with perturbed(network, 0 * network(torch.ones(1, 2)).sum(), rho=3.0):
        assert torch.equal(network.weight, before["weight"])
    assert torch.equal(network.weight, before["weight"])
    assert torch.equal(network.bias, before["bias"])


def test_running_statistics_stay_within() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    loss = network(torch.tensor([[1.0, 2.0], [3.0, 5.0]])).square().sum()
    before = copy.deepcopy(dict(network.named_buffers()))
    with perturbed(network, loss, rho=0.1):
        network(torch.ones(4, 2))
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    network(torch.ones(4, 2))
    assert network[1].num_batches_tracked == 2


def test_running_statistics_move_within_if_told_to() -> None:
    network = nn.BatchNorm1d(2)
    images = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    with perturbed(network, network(images).square().sum(), rho=0.1, update_statistics=True):
        network(images)
    assert network.num_batches_tracked == 2


@pytest.fixture
def loop(prepared: Make, tmp_path: Path) -> Loop:
    choice = parameters(method="SDAT", hyperparameters={"hidden": 8, "rho": 0.5}, bottleneck=8)
    made = _make_loop(choice, prepared(), {}, tmp_path / "checkpoint")
    made.network.train()
    made.network.bottleneck.append(nn.Dropout(0.5))
    made.done = 6  # the reversal of gradients is warm
    return made


def test_a_step_of_the_loop_is_two_gradient_evaluations(loop: Loop) -> None:
    other = copy.deepcopy(loop)
    other._seed_pass()
    first = other.network
    sum(other.method.ascent(other._forward(*other._batch(other.done))).values()).backward()
    statistics = {name: value.clone() for name, value in first.named_buffers()}
    length = torch.cat([weight.grad.flatten() for weight in first.parameters()]).norm()
    with torch.no_grad():
        for weight in first.parameters():
            weight += 0.5 * weight.grad / length
    other.network.zero_grad()
    other._seed_pass()
    sum(other.method.losses(other._forward(*other._batch(other.done))).values()).backward()

    loop._step(*loop._batch(loop.done))
    for ours, theirs in ((loop.network, other.network), (loop.method, other.method)):
        for weight, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(weight.grad, expected.grad, atol=1e-5, rtol=1e-4)
    for name, value in loop.network.named_buffers():
        assert torch.equal(value, statistics[name]), name
