"""What adversarial methods share: gradient reversal, its warm start, and a second head."""

import math
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function

STEEPNESS = 10
"""The steepness gamma of the warm start, as in Ganin et al. (JMLR 2016)."""


def warm_start(progress: float) -> float:
    """Return the strength of gradient reversal, which rises from 0 towards 1 during training.

    It is 2 / (1 + exp(-10 progress)) - 1, the schedule of Ganin et al. (JMLR 2016). The transfer-learning
    library counts iterations i instead, as 2 / (1 + exp(-i / 1000)) - 1. Both agree in a training of 10,000
    iterations, but by counting, a training of a few hundred would end before the warm start did. A resumed
    training needs no memory of `progress`.

    Args:
        progress: The share of training that is done, in [0, 1).
    """
    return 2 / (1 + math.exp(-STEEPNESS * progress)) - 1


class _Reversal(Function):
    @staticmethod
    def forward(context: Any, values: Tensor, coefficient: float) -> Tensor:
        context.coefficient = coefficient
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -context.coefficient * gradient, None


def reverse_gradient(values: Tensor, coefficient: float) -> Tensor:
    """Return `values` unchanged; in the backward pass, multiply their gradient by -coefficient."""
    reversed_values: Tensor = _Reversal.apply(values, coefficient)
    return reversed_values


class GradientReversal(nn.Module):
    """`reverse_gradient` as a layer.

    Attributes:
        coefficient: The strength of the reversal. A method sets it in every step.
    """

    coefficient = 1.0

    def forward(self, values: Tensor) -> Tensor:
        """Return `values` unchanged, with reversed gradients."""
        return reverse_gradient(values, self.coefficient)


def second_head(features: int, width: int, classes: int) -> nn.Module:
    """Make a head of two layers, the first `width` wide: features [n, features] to logits [n, classes]."""
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, classes))
