"""What adversarial methods share: the reversal of gradients, its warm start, and a second head."""

import math
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function

STEEPNESS = 10
"""Of the warm start, as in Ganin et al. 2016."""


def warm_start(progress: float) -> float:
    """How strongly gradients are reversed when `progress` (in [0, 1]) of training is done: from 0 towards 1.

    2 / (1 + exp(-10 progress)) - 1. The library counts iterations instead, as 2 / (1 + exp(-i / 1000)) - 1:
    the same in a training of 10,000 iterations, but one of a few hundred would end before it had warmed up. It
    depends on nothing but `progress`, so that a resumed training needs no memory of it.
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
    """`values` unchanged; the gradient that comes back is multiplied by -coefficient."""
    return _Reversal.apply(values, coefficient)


class GradientReversal(nn.Module):
    """`reverse_gradient` as a layer, in the place of the library's own, which calls the removed np.float.

    A method sets `coefficient` in every step.
    """

    coefficient = 1.0

    def forward(self, values: Tensor) -> Tensor:
        return reverse_gradient(values, self.coefficient)


def second_head(features: int, width: int, classes: int) -> nn.Module:
    """A head of two layers: features [n, features] to logits [n, classes]."""
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, classes))
