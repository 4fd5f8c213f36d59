"""What a classifier method is, and what the training loop hands to it.

A method owns its losses, its hyper-parameters, and extra modules (a discriminator, say). The loop owns all
else: data, the network, the optimiser and its schedule, evaluation, checkpoints.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.classify import registry
from pipeline.classify.network import Network
from pipeline.config import MethodSpec
from pipeline.core.errors import UserError


@dataclass(frozen=True)
class Outputs:
    """What the network makes of n images: features [n, d] after the bottleneck, logits [n, classes]."""

    features: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Step:
    """One step, as a method sees it.

    labelled: outputs for b labelled images (real and made ones); labels: int64 [b].
    target: outputs for b unlabelled target images, from the same forward pass (BatchNorm sees both halves
    together, as in the transfer-learning library); None for a method that does not use the target.
    progress: the share of training that is done, in [0, 1).
    The loop gives the rest too; a step that is made for a loss that does not look at it may lack it.
    domains: int64 [b], the domain of each labelled image. Under setting dg those of the sources, each with as
    many images as the others, and the next number for made images, if there are any; under uda all 0.
    weights: float [b], what each labelled image counts in the loss of the task; None if all count alike.
    images: float [b, 3, H, W], the labelled images as the network saw them.
    """

    labelled: Outputs
    labels: Tensor
    target: Outputs | None
    progress: float
    domains: Tensor | None = None
    weights: Tensor | None = None
    images: Tensor | None = None


def task_loss(step: Step) -> Tensor:
    """The mean cross-entropy of the labelled images, each counting as much as `step.weights` say."""
    if step.weights is None:
        return cross_entropy(step.labelled.logits, step.labels)
    each = cross_entropy(step.labelled.logits, step.labels, reduction="none")
    return (step.weights * each).sum() / step.weights.sum()


class Method(nn.Module):
    """Base class of methods. The annotated class attributes of a subclass are its hyper-parameters."""

    name: str
    """As suites call it; set by the decorator."""

    uses_target = True
    """Whether `losses` reads step.target; if not, target images are neither loaded nor computed."""

    uses_library = False
    """Whether its losses or modules come from the transfer-learning library, whose version a record then names."""

    needs_domains = False
    """Whether `losses` tells labelled images of different domains apart, which setting dg alone has."""

    rho: float | None = None
    """The radius of sharpness-aware steps: how far `ascent` moves the network; None for ordinary steps."""

    alpha: float | None = None
    """How far sharpness-aware steps match gradients (see sharpness.py); None for steps that do not."""

    def __init__(self, features: int, classes: int, **hyperparameters: Any) -> None:
        super().__init__()
        for name, value in hyperparameters.items():
            setattr(self, name, value)
        self.build(features, classes)

    def build(self, features: int, classes: int) -> None:
        """Refuse impossible hyper-parameters; make modules for features [n, features], logits [n, classes].

        Modules assigned to `self` are trained with the head's learning rate and kept in checkpoints.
        """

    def begin(self, network: Network, domains: int) -> None:
        """Make what depends on the network as it is before training, or on how many domains are labelled.

        Modules and buffers made here are kept in checkpoints as those of `build` are.
        """

    def losses(self, step: Step) -> dict[str, Tensor]:
        """The terms whose sum is minimised, by name: each a scalar, already multiplied by its weight."""
        raise NotImplementedError

    def ascent(self, step: Step) -> dict[str, Tensor]:
        """The terms whose sum a sharpness-aware step ascends on, as `losses`; asked for if `rho` is set.

        It should not run the method's own modules, which are not perturbed and would see every step twice.
        """
        raise NotImplementedError

    def require(self, fine: bool, name: str, rule: str) -> None:
        """UserError that hyper-parameter `name` must be `rule` unless it is `fine`."""
        if not fine:
            raise UserError(f"method {self.name}: {name} must be {rule}, not {getattr(self, name)}")

    def require_pairs(self, step: Step) -> None:
        """UserError if the step has one image of a domain, which has no distance to others of it."""
        count = len(step.labels) if step.domains is None else int(step.domains.bincount().min())
        if count < 2:
            raise UserError(f"method {self.name}: train.batch_size must be at least 2, not {count}")


def make_method(
    name: str, hyperparameters: dict[str, Any], network: Network, seed: int, domains: int = 1
) -> Method:
    """The method called `name` for `network`, the weights of its modules drawn from `seed`.

    domains: of labelled images. UserError if there is no method of that name, or it does not take these
    hyper-parameters.
    """
    registry.check_method(MethodSpec(name=name, hyperparameters=hyperparameters))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = registry.load(name)(network.feature_count, network.head.out_features, **hyperparameters)
        made.begin(network, domains)
    return made
