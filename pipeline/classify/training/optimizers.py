"""The optimiser of a training, and its learning-rate schedule."""

import torch
from torch.optim import Optimizer

from pipeline.classify.method import Method
from pipeline.classify.network import Network
from pipeline.config import TrainSettings
from pipeline.core.lr_schedule import Schedule, constant, cosine, inverse


def make_optimizer(network: Network, method: Method, settings: TrainSettings) -> Optimizer:
    """Make SGD (with Nesterov momentum if it has momentum) or Adam, with two groups of weights.

    The backbone learns at backbone_lr_factor times the learning rate; bottleneck, head and the method's own
    modules learn at the learning rate itself.
    """
    rate = settings.learning_rate
    groups = [
        {"params": list(network.backbone.parameters()), "lr": rate * settings.backbone_lr_factor},
        {"params": [*network.new_parameters(), *method.parameters()], "lr": rate},
    ]
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, weight_decay=settings.weight_decay, fused=True)
    return torch.optim.SGD(
        groups,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def rate_schedule(settings: TrainSettings) -> Schedule:
    """Return the schedule that `settings.schedule` names.

    `constant` keeps the rate, `cosine` lets it fall to 0 at the last step, and `inverse` multiplies it by
    (1 + inverse_gamma * step)^-0.75.
    """
    if settings.schedule == "cosine":
        return cosine(settings.iterations)
    if settings.schedule == "inverse":
        return inverse(settings.inverse_gamma)
    return constant
