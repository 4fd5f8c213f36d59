"""The inputs of golden numbers: what the authors' code and ours are both given. See tests/reference/.

All numbers are float64 and follow from names by numpy's legacy generator, which is the same on every machine.
"""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

REFERENCE = Path(__file__).parents[1] / "reference"

IMAGES, WIDTH, FEATURES, HIDDEN, CLASSES = 5, 6, 4, 5, 3
FIRST = 700
"""The number of steps that are done before the first one compared: warm-ups and schedules are under way."""


def numbers(name: str, *shape: int) -> np.ndarray:
    """Normal numbers of a shape, which follow from the name."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)


def batch(domain: str, step: int, images: int = IMAGES) -> Tensor:
    """The images [n, 3, 2, 2] of a domain in a step."""
    return torch.from_numpy(numbers(f"{domain} {step}", images, 3, 2, 2))


def labels(step: int, images: int = IMAGES) -> Tensor:
    """The labels of the images of a step."""
    return (torch.arange(images) + step) % CLASSES


class Backbone(nn.Sequential):
    """A backbone with BatchNorm: images [n, 3, 2, 2] to features [n, 6]."""

    num_features = out_features = WIDTH
    normalisation = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(12, WIDTH), nn.BatchNorm1d(WIDTH), nn.Tanh())


class Stages(nn.Sequential):
    """A backbone of two stages: images [n, 3, 2, 2] to maps [n, 4, 2, 2], to maps and features [n, 6]."""

    num_features = n_outputs = WIDTH
    normalisation = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    image_size = 2
    levels = ("2", "4")

    def __init__(self) -> None:
        maps, features = nn.Conv2d(3, 4, kernel_size=1), nn.Conv2d(4, WIDTH, kernel_size=2)
        super().__init__(maps, nn.BatchNorm2d(4), nn.Tanh(), features, nn.Tanh(), nn.Flatten())


@torch.no_grad()
def fill(**modules: nn.Module) -> None:
    """Give the parameters of each module the numbers of its role and of their places in it."""
    for role, module in modules.items():
        for place, weight in enumerate(module.parameters()):
            weight.copy_(torch.from_numpy(0.5 * numbers(f"{role}.{place}", *weight.shape)))


def state(**modules: nn.Module) -> dict[str, list[float]]:
    """The parameters of each module, and the running statistics of its BatchNorm layers, flattened."""
    found = {}
    for role, module in modules.items():
        tensors = {f"{role}.{place}": weight for place, weight in enumerate(module.parameters())}
        buffers = [value for name, value in module.named_buffers() if "running" in name]
        tensors |= {f"{role}.statistics.{place}": value for place, value in enumerate(buffers)}
        found |= {name: tensor.detach().flatten().tolist() for name, tensor in tensors.items()}
    return found


@contextmanager
def controlled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Make dropout follow from the number of the call, and record the losses whose gradient is computed.

    Yields:
        The losses so far.
    """
    losses: list[float] = []
    calls = iter(range(10**6))
    backward = torch.Tensor.backward

    def dropout(values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if p == 0 or not training:
            return values
        assert p == 0.5, "half of the numbers below are kept"
        kept = torch.from_numpy(numbers(f"dropout {next(calls)}", *values.shape)) > 0
        return values * kept / (1 - p)

    def recorded(loss: Tensor, *given: Any, **options: Any) -> None:
        losses.append(loss.item())
        backward(loss, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(nn.functional, "dropout", dropout)
        patch.setattr(torch.Tensor, "backward", recorded)
        yield losses


def read(system: str, name: str) -> dict[str, Any]:
    """The golden numbers of a method."""
    content: dict[str, Any] = json.loads((REFERENCE / system / f"{name}.json").read_text())
    return content


def write(system: str, name: str, losses: list[float], **modules: nn.Module) -> None:
    """Write golden numbers with 12 digits. Called with the authors' modules, outside of the tests."""
    content = {"losses": losses} | state(**modules)
    rounded = {key: [float(f"{value:.12g}") for value in values] for key, values in content.items()}
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(values)}" for key, values in rounded.items())
    (REFERENCE / system / f"{name}.json").write_text("{\n" + lines + "\n}\n")
