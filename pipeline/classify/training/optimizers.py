"""The optimiser of a training, and how its learning rate changes."""

import math

import torch
from torch.optim import Optimizer

from pipeline.classify.method import Method
from pipeline.classify.network import Network
from pipeline.config import TrainSettings


def make_optimizer(network: Network, method: Method, settings: TrainSettings) -> Optimizer:
    """SGD (Nesterov) or Adam; the backbone learns at backbone_lr_factor times the rate of all else.

    A group's `full_lr` is its rate before the schedule.
    """
    rate = settings.learning_rate
    groups = [
        {"params": list(network.backbone.parameters()), "full_lr": rate * settings.backbone_lr_factor},
        {"params": [*network.new_parameters(), *method.parameters()], "full_lr": rate},
    ]
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, lr=rate, weight_decay=settings.weight_decay, fused=True)
    momentum = settings.momentum
    return torch.optim.SGD(
        groups,
        lr=rate,
        momentum=momentum,
        nesterov=momentum > 0,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def set_rate(optimizer: Optimizer, settings: TrainSettings, step: int) -> None:
    """Give every group its learning rate for `step` (from 0)."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * rate_factor(settings, step)


def rate_factor(settings: TrainSettings, step: int) -> float:
    """constant: 1; cosine: from 1 towards 0; inverse: (1 + gamma step)^-0.75, as in the TLlib library."""
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / settings.iterations))
    if settings.schedule == "inverse":
        return (1 + settings.inverse_gamma * step) ** -0.75
    return 1.0
