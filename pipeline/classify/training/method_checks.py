"""What a training refuses of its method's code: mistakes that would change its numbers without a word."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from pipeline.classify.method import Method
from pipeline.classify.network import Network
from pipeline.core.errors import UserError

TENSORS = Tensor, np.ndarray
"""The types of arrays that belong in buffers."""

GENERATORS = np.random.Generator, np.random.RandomState, random.Random, torch.Generator
"""The types of generators of random numbers, whose state no checkpoint keeps."""

CONTAINERS = list, tuple, dict, set
"""The types of collections that are searched for state."""


class MethodChecks:
    """Watches over the state of `method`, whose first step is still to come.

    Raises:
        UserError: The method keeps the network as a module of its own.
    """

    def __init__(self, method: Method, network: Network) -> None:
        self.method, self.network = method, network
        self._weights = list(network.parameters())  # found once, because every step counts their writes
        self._refuse_network()
        self._known = self._names()
        self._plain = _plain(method)

    def check_state(self) -> None:
        """Check that a checkpoint holds all state of the method, and an optimiser its weights.

        Raises:
            UserError: Names the attribute, and what to do instead.
        """
        self._refuse_network()
        if made := sorted(self._names() - self._known):
            raise self._refused(
                f"{made[0]!r} was made after the first step began, so that no optimiser trains it; "
                "make it in build or begin"
            )
        for name, value in vars(self.method).items():
            if not name.startswith("_"):
                self._check_kind(name, value)
        for name, value in _plain(self.method).items():
            if name not in self._plain or self._plain[name] != value:
                raise self._refused(
                    f"the attribute {name!r} changed during training, and no checkpoint keeps it; make it a "
                    "tensor, and register it by self.register_buffer in build or begin"
                )

    def writes(self) -> int:
        """Return a count that rises with every change in place of a weight of the network."""
        return sum(weight._version for weight in self._weights)

    def check_unwritten(self, before: int) -> None:
        """Raise UserError if a weight of the network was changed since `writes` returned `before`."""
        if self.writes() != before:
            raise self._refused(
                "losses changed a weight of the network; return a loss instead, or do it in after_step"
            )

    def _check_kind(self, name: str, value: object) -> None:
        """Raise UserError for an attribute that holds state of a kind that no checkpoint keeps."""
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, CONTAINERS) else ()
        held = [value, *parts]
        if any(isinstance(one, Optimizer) for one in held):
            raise self._refused(
                f"the attribute {name!r} is an optimiser, whose state no checkpoint keeps; return groups of "
                "parameters from parameter_groups, and updates of them from updates"
            )
        if any(isinstance(one, GENERATORS) for one in held):
            raise self._refused(
                f"the attribute {name!r} is a generator of random numbers, whose state no checkpoint keeps; "
                "draw from the global ones of torch, numpy or random, which are seeded for each step"
            )
        if any(isinstance(one, TENSORS) for one in held):
            raise self._refused(
                f"the attribute {name!r} holds a tensor or an array, which no checkpoint keeps; register it "
                "by self.register_buffer in build or begin"
            )

    def _refuse_network(self) -> None:
        for name, module in self.method.named_modules():
            if module is self.network:
                raise self._refused(
                    f"the attribute {name!r} is the network in training, which its own group of parameters "
                    "would hold twice; use self.forward, step.network, or a copy such as EMA"
                )

    def _refused(self, problem: str) -> UserError:
        return UserError(f"method {self.method.name}: {problem}")

    def _names(self) -> set[str]:
        """The names of all weights and buffers."""
        return {name for name, _ in [*self.method.named_parameters(), *self.method.named_buffers()]}


def _plain(method: Method) -> dict[str, Any]:
    """The attributes of `method` that are numbers, texts, or collections, which are compared as text."""
    found: dict[str, Any] = {}
    for name, value in vars(method).items():
        if name.startswith("_") or name == "training":
            continue
        if isinstance(value, int | float | str | None):
            found[name] = value
        elif isinstance(value, CONTAINERS):
            found[name] = repr(value)
    return found


def check_losses(method: Method, losses: Mapping[str, Tensor]) -> None:
    """Check what `Method.losses` or `Method.ascent` returned.

    Raises:
        UserError: It is no mapping of names to scalars, is empty, or needs no gradient.
    """
    problem = None
    if not isinstance(losses, Mapping) or not losses:
        problem = "losses must return the terms of the loss by name, and at least one"
    else:
        wrong = [n for n, value in losses.items() if not isinstance(value, Tensor) or value.numel() != 1]
        if wrong:
            problem = f"losses returned {wrong[0]!r}, which is not a tensor of one number"
        elif not any(value.requires_grad for value in losses.values()):
            problem = "no term of losses depends on a weight; compute them from the outputs in `step`"
    if problem:
        raise UserError(f"method {method.name}: {problem}")


def check_averaged(method: Method, network: Network) -> None:
    """Raise UserError if weights of `network` are to be averaged, and `method` has phases or a teacher."""
    if len(method.phases()) > 1 or method.evaluated(network) is not network:
        raise UserError(
            f"train.averaging: swad averages one network over one phase, and method {method.name} has "
            "several of either; set it to none"
        )


def check_batch(method: Method, network: Network, sizes: Sequence[int]) -> None:
    """Check that BatchNorm never gets a single image, whose deviation from its own mean is zero.

    Args:
        method: The method.
        network: The network, in training mode.
        sizes: How many labelled and how many target images a step has, where it has any.

    Raises:
        UserError: A pass of one image would reach a BatchNorm layer.
    """
    passes = sizes if method.separate_passes else [sum(sizes)]
    if min(passes) == 1 and network.needs_several_images():
        raise UserError(
            "train.batch_size: BatchNorm layers need at least 2 images in a step, not 1; raise it"
        )
