"""The reversal of gradients and its warm start."""

import math

import pytest
import torch

from pipeline.classify.method import Outputs, Step
from pipeline.classify.methods.adversarial import GradientReversal, warm_start


def test_values_pass_unchanged_and_gradients_come_back_reversed() -> None:
    layer = GradientReversal()
    layer.coefficient = 0.25
    values = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    reversed_values = layer(values)
    assert torch.equal(reversed_values, values)
    reversed_values.backward(torch.tensor([1.0, 2.0, -4.0]))
    assert values.grad.tolist() == [-0.25, -0.5, 1.0]


def at(iteration: int, iterations: int) -> Step:
    """A step that says no more than how much of the training is done."""
    nothing = Outputs(torch.zeros(0, 1), torch.zeros(0, 1))
    return Step(nothing, torch.zeros(0), None, iteration / iterations, iteration=iteration)


def test_the_stretched_warm_start_is_that_of_ganin() -> None:
    assert warm_start(at(0, 500), 0) == 0
    assert warm_start(at(50, 500), 0) == pytest.approx(math.tanh(0.5))  # 2 / (1 + exp(-x)) - 1 = tanh(x / 2)
    assert warm_start(at(499, 500), 0) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("iterations", [500, 30_000])
def test_the_counted_warm_start_does_not_depend_on_the_length_of_training(iterations: int) -> None:
    assert warm_start(at(100, iterations), 1000) == pytest.approx(math.tanh(0.05))
    assert warm_start(at(100, iterations), 50) == pytest.approx(math.tanh(1.0))


@pytest.mark.parametrize("iteration", [0, 700, 5000])
def test_both_warm_starts_are_one_in_10000_iterations(iteration: int) -> None:
    assert warm_start(at(iteration, 10_000), 0) == pytest.approx(warm_start(at(iteration, 10_000), 1000))
