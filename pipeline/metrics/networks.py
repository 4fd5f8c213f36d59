"""Find the networks that metrics compare images with, by name.

    inception            InceptionV3 as in torch-fidelity: the network of published FID and KID
    alex, vgg, squeeze   LPIPS, with the weights that were fitted to human judgements, for PPL
    digits               a small network of this project (pipeline/metrics/digits)
    any model of timm    with weights of the hub, or NAME=FILE with those of a .safetensors or .pth file

No network stands in for another: weights that cannot be loaded are an error.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.backbones import make_backbone
from pipeline.config import HUB, SMALL, TrainSettings, nearest
from pipeline.core.errors import UserError

INCEPTION, DIGITS, LPIPS = "inception", "digits", ("alex", "vgg", "squeeze")

DIGITS_WEIGHTS = Path(__file__).parent / "digits" / "weights.safetensors"

BATCH_SIZE = 64
"""How many images go through a network together."""

OTHER_NETWORKS = (
    "or name another network: digits, or NAME=FILE with a model of timm and a file of its weights"
)


def make_network(name: str, named: tuple[str, ...]) -> nn.Module:
    """Load `digits`, or a model of timm as NAME or NAME=FILE, in evaluation mode.

    Args:
        name: The network's name.
        named: The other names that the caller knows, which an error lists.

    Returns:
        A network as `backbones.make_backbone` makes it: its `normalisation` and `image_size` describe its
        input.

    Raises:
        UserError: The network does not exist, or its weights cannot be loaded.
    """
    architecture, equals, file = name.partition("=")
    if equals and not (architecture and file):
        raise UserError(f"network {name!r}: expected NAME, or NAME=FILE with its weights")
    if architecture == DIGITS:
        architecture, file = SMALL, str(DIGITS_WEIGHTS)
    else:
        _check_architecture(architecture, (*named, DIGITS))
    settings = TrainSettings(backbone=architecture, pretrained=file or HUB, iterations=1)
    return make_backbone(settings, f"network {architecture}").eval()


def _check_architecture(name: str, named: tuple[str, ...]) -> None:
    """Raise a UserError that lists what exists unless `name` is a model of timm."""
    import timm  # takes seconds, which `digits` need not wait for

    architecture = name.partition(".")[0]
    models = timm.list_models()
    if architecture not in models:
        hint = nearest(architecture, [*named, *models]).rpartition("; ")[2]
        hint = f"; {hint}" if hint.startswith("did you mean") else ""
        raise UserError(
            f"there is no network {architecture!r}; there are: {', '.join(sorted(named))}, and "
            f"{len(models)} models of timm {timm.__version__}, such as resnet50{hint}"
        )


@contextmanager
def loading_weights(name: str, remedy: str) -> Iterator[None]:
    """Turn a missing package, or weights that cannot be loaded, into a UserError that names the network.

    Args:
        name: The network's name.
        remedy: Where to get its weights.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"network {name}: the package {error.name} is missing; pip install {error.name}"
        ) from error
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"network {name}: its weights cannot be loaded ({reason}); {remedy}, {OTHER_NETWORKS}"
        ) from error


def as_tensor(images: np.ndarray) -> Tensor:
    """Convert uint8 [n, H, W, 3] to uint8 [n, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def normalised(images: np.ndarray, network: nn.Module) -> Tensor:
    """Convert images to the input of a network of `make_network`.

    Args:
        images: uint8 [n, H, W, 3].
        network: The network.

    Returns:
        float32 [n, 3, H, W].

    Raises:
        UserError: The network takes images of another size only.
    """
    size, (height, width) = network.image_size, images.shape[1:3]
    if size is not None and (height, width) != (size, size):
        raise UserError(
            f"the images are {width}x{height}, but this network takes {size}x{size} only: "
            "name another network, or resize the images yourself, because that changes what is measured"
        )
    normalisation: Any = network.normalisation
    mean, std = (torch.tensor(values)[:, None, None] for values in normalisation)
    return (as_tensor(images).float() / 255 - mean) / std


@torch.inference_mode()
def in_batches(images: np.ndarray, compute: Callable[[np.ndarray], Tensor]) -> np.ndarray:
    """Apply `compute` to images in batches and concatenate the results: float64 [n, ...]."""
    starts = range(0, len(images), BATCH_SIZE)
    return np.concatenate([compute(images[i : i + BATCH_SIZE]).double().numpy() for i in starts])
