"""What a classifier method is, and what the training loop hands to it.

A method owns its losses, its hyper-parameters, and extra modules (a discriminator, say). The loop owns all
else: data, the network, the optimiser and its schedule, evaluation, checkpoints.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.classify import registry
from pipeline.classify.backbones import Network
from pipeline.config import MethodSpec
from pipeline.errors import UserError


@dataclass(frozen=True)
class Outputs:
    """What the network makes of n images: features [n, d] after the bottleneck, logits [n, classes]."""

    features: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Step:
    """One step, as a method sees it.

    labelled: outputs for b labelled images (source and made ones); labels: int64 [b].
    target: outputs for b unlabelled target images, from the same forward pass (BatchNorm sees both halves
    together, as in the transfer-learning library); None for a method that does not use the target.
    progress: the share of training that is done, in [0, 1).
    """

    labelled: Outputs
    labels: Tensor
    target: Outputs | None
    progress: float


class Method(nn.Module):
    """Base class of methods. The annotated class attributes of a subclass are its hyper-parameters."""

    name: str
    """As suites call it; set by the decorator."""

    uses_target = True
    """Whether `losses` reads step.target; if not, target images are neither loaded nor computed."""

    uses_library = False
    """Whether its losses or modules come from the transfer-learning library, whose version a record then names."""

    rho: float | None = None
    """The radius of sharpness-aware steps: how far `ascent` moves the network; None for ordinary steps."""

    def __init__(self, features: int, classes: int, **hyperparameters: Any) -> None:
        super().__init__()
        for name, value in hyperparameters.items():
            setattr(self, name, value)
        self.build(features, classes)

    def build(self, features: int, classes: int) -> None:
        """Refuse impossible hyper-parameters; make modules for features [n, features], logits [n, classes].

        Modules assigned to `self` are trained with the head's learning rate and kept in checkpoints.
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
        """UserError if the step's halves are of one image, which has no distance to others of its domain."""
        if len(step.labels) < 2:
            raise UserError(
                f"method {self.name}: train.batch_size must be at least 2, not {len(step.labels)}"
            )


def make_method(name: str, hyperparameters: dict[str, Any], network: Network, seed: int) -> Method:
    """The method called `name` for `network`, the weights of its modules drawn from `seed`.

    UserError if there is none of that name, or it does not take these hyper-parameters.
    """
    registry.check_method(MethodSpec(name=name, hyperparameters=hyperparameters))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return registry.load(name)(network.feature_count, network.head.out_features, **hyperparameters)
