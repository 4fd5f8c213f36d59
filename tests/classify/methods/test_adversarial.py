"""The reversal of gradients and its warm start."""

import math

import pytest
import torch

from pipeline.classify.methods.adversarial import GradientReversal, warm_start


def test_values_pass_unchanged_and_gradients_come_back_reversed() -> None:
    layer = GradientReversal()
    layer.coefficient = 0.25
    values = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    reversed_values = layer(values)
    assert torch.equal(reversed_values, values)
    reversed_values.backward(torch.tensor([1.0, 2.0, -4.0]))
    assert values.grad.tolist() == [-0.25, -0.5, 1.0]


def test_the_warm_start_is_that_of_ganin() -> None:
    assert warm_start(0) == 0
    assert warm_start(0.1) == pytest.approx(math.tanh(0.5))  # 2 / (1 + exp(-x)) - 1 = tanh(x / 2)
    assert warm_start(0.999) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("iteration", [0, 700, 5000])
def test_the_warm_start_is_the_librarys_in_10000_iterations(iteration: int) -> None:
    assert warm_start(iteration / 10_000) == pytest.approx(2 / (1 + math.exp(-iteration / 1000)) - 1)
