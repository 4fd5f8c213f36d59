"""The optimiser of a training, and its learning-rate schedule."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pipeline.classify.method import Method, ParameterGroup
from pipeline.classify.network import Network
from pipeline.classify.training.segments import Segment
from pipeline.config import TrainSettings, nearest
from pipeline.core.errors import UserError
from pipeline.core.lr_schedule import Schedule, constant, cosine, inverse, schedule_rates


def make_optimizer(network: Network, method: Method, settings: TrainSettings) -> Optimizer:
    """Make SGD or Adam for the groups of weights that the method returns (see `Method.parameter_groups`).

    The backbone learns at backbone_lr_factor times the learning rate, and with its own momentum if the
    settings state one; all other groups learn at the learning rate itself. `lr_factor` of a group comes on
    top. Every group of the optimiser has the name of the method's group.

    Raises:
        UserError: An update of the method names a group that there is not, or two groups share a weight.
    """
    returned = method.parameter_groups(network)
    _check_groups(method, returned)
    groups: list[dict[str, Any]] = []
    for group in returned:
        rate = settings.learning_rate * group.lr_factor
        momentum = settings.momentum
        if group.name == "backbone":
            rate *= settings.backbone_lr_factor
            momentum = momentum if settings.backbone_momentum is None else settings.backbone_momentum
        nesterov = settings.nesterov and momentum > 0
        of_sgd = {} if settings.optimizer == "adam" else {"momentum": momentum, "nesterov": nesterov}
        if group.parameters:
            groups.append({"name": group.name, "params": list(group.parameters), "lr": rate} | of_sgd)
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, weight_decay=settings.weight_decay, fused=True)
    return torch.optim.SGD(groups, weight_decay=settings.weight_decay, fused=True)


def _check_groups(method: Method, groups: Sequence[ParameterGroup]) -> None:
    """Raise UserError for names of groups that `method` does not return, and for weights in two groups."""
    names = [group.name for group in groups]
    named = [(f"update {update.name!r}", update.groups or ()) for update in method.updates()]
    named += [(f"phase {phase.name!r}", phase.frozen) for phase in method.phases()]
    for what, of_part in named:
        unknown = sorted(set(of_part) - set(names))
        if unknown:
            raise UserError(
                f"method {method.name}: {what} names the group {unknown[0]!r}, which "
                f"parameter_groups does not return; {nearest(unknown[0], names)}"
            )
    places: dict[int, str] = {}
    for group in groups:
        for weight in group.parameters:
            other = places.setdefault(id(weight), group.name)
            if other != group.name:
                raise UserError(
                    f"method {method.name}: parameter_groups returns a weight twice, in {other!r} and in "
                    f"{group.name!r}; leave it out of one"
                )


def update_weights(
    optimizer: Optimizer,
    scaler: torch.amp.GradScaler,
    groups: Collection[str] | None,
    clip_norm: float | None,
) -> None:
    """Update weights by their gradients, unless a gradient overflowed in fp16.

    Args:
        optimizer: The optimiser, whose groups have names.
        scaler: The scaler by which the loss was multiplied.
        groups: The names of the groups to update; None for all. Weights of other groups, their momentum
            included, stay as they are.
        clip_norm: The largest norm of the gradient of all weights that are updated; None for no limit.
    """
    for group in optimizer.param_groups:
        if groups is not None and group["name"] not in groups:
            for weight in group["params"]:
                weight.grad = None
    if clip_norm is not None:
        scaler.unscale_(optimizer)
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, clip_norm)
    scaler.step(optimizer)
    scaler.update()


def schedule_phase(optimizer: Optimizer, settings: TrainSettings, segment: Segment, done: int) -> LambdaLR:
    """Set the learning rates of the step after `done` steps of the training, in the phase of `segment`."""
    schedule = rate_schedule(settings, segment.phase_stop - segment.phase_start)
    factor = segment.phase.lr_factor
    return schedule_rates(optimizer, lambda step: factor * schedule(step), done - segment.phase_start)


def rate_schedule(settings: TrainSettings, steps: int) -> Schedule:
    """Return the schedule that `settings.schedule` names, for a phase of `steps` steps.

    `constant` keeps the rate, `cosine` lets it fall to 0 at the last step, and `inverse` multiplies it by
    (1 + inverse_gamma * step)^-0.75.
    """
    if settings.schedule == "cosine":
        return cosine(steps)
    if settings.schedule == "inverse":
        return inverse(settings.inverse_gamma)
    return constant
