"""What tests of adapters share: a small network to adapt, and finite differences."""

import torch
from torch import Tensor, nn


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(4, 5, 1),
        nn.Flatten(2),
        nn.Linear(16, 6),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(30, 7),
    )


@torch.no_grad()
def slope(net: nn.Module, x: Tensor, parameter: Tensor, where: tuple[int, ...], step: float = 1e-5) -> float:
    """The change of the sum of squares of the output with one number, by central differences."""
    parameter[where] += step
    above = net(x).square().sum()
    parameter[where] -= 2 * step
    below = net(x).square().sum()
    parameter[where] += step
    return ((above - below) / (2 * step)).item()
