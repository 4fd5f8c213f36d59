"""Steps of random numbers, and gradients by finite differences, to hold losses against."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.classify.factory import make_method
from pipeline.classify.method import Method, Outputs, Step
from pipeline.classify.network import Network

IMAGES, FEATURES, CLASSES = 5, 4, 3


def random_step(progress: float = 0.3, seed: int = 0) -> Step:
    """A step whose features and logits are leaves that take gradients."""
    random = torch.Generator().manual_seed(seed)

    def outputs() -> Outputs:
        features, logits = (torch.randn(IMAGES, size, generator=random) for size in (FEATURES, CLASSES))
        return Outputs(features.requires_grad_(), logits.requires_grad_())

    labels = torch.arange(IMAGES) % CLASSES
    return Step(outputs(), labels, outputs(), progress)


def leaves(step: Step) -> list[Tensor]:
    """Features of the labelled half and the target one, then their logits."""
    halves = (step.labelled, step.target)
    return [half.features for half in halves] + [half.logits for half in halves]


def gradients(loss: Tensor, inputs: list[Tensor]) -> list[np.ndarray]:
    """Of `loss` for each of `inputs`; zeros where it does not depend on them."""
    found = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
    return [gradient.numpy() for gradient in found]


def slow_gradient(function: Callable[[np.ndarray], float], place: np.ndarray) -> np.ndarray:
    """The gradient of `function` by central differences.

    With steps h = 1e-5 its errors are h² f''' / 6, about 1e-10, and eps |f| / h, about 2e-11 in float64.
    """
    slow = np.zeros_like(place)
    for index in np.ndindex(place.shape):
        step = np.zeros_like(place)
        step[index] = 1e-5
        slow[index] = (function(place + step) - function(place - step)) / 2e-5
    return slow


class Flat(nn.Flatten):
    """A backbone without weights: images [n, 3, 2, 2] to features [n, 12]."""

    num_features = 12
    normalisation = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def tiny_method(name: str, **hyperparameters: float | bool) -> Method:
    """The method for features and logits of `random_step`, its layers narrow where it has any."""
    return make_method(name, hyperparameters, Network(Flat(), CLASSES, FEATURES), seed=1)
