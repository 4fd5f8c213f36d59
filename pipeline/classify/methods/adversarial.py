"""What adversarial methods share: gradient reversal, and its warm start."""

import math
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function

from pipeline.classify.method import Step

STEEPNESS = 10
"""The steepness gamma of the warm start, as in Ganin et al. (JMLR 2016)."""


def warm_start(step: Step, steps: int) -> float:
    """Return the strength of gradient reversal, which rises from 0 towards 1 during training.

    It is 2 / (1 + exp(-i / steps)) - 1 at step i, the transfer-learning library's schedule, in which `steps`
    is 1,000. With `steps` 0 it is 2 / (1 + exp(-10 progress)) - 1, the schedule of Ganin et al. (JMLR 2016),
    which stretches over the training, however short that is. Both agree in a training of 10,000 steps.

    Args:
        step: The step, which says how much of the training is done.
        steps: The hyper-parameter `warm_up_steps` of adversarial methods, at least 0.
    """
    exponent = step.iteration / steps if steps else STEEPNESS * step.progress
    return 2 / (1 + math.exp(-exponent)) - 1


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
