"""Networks in whose features images are compared, by name.

    inception            InceptionV3 as torch-fidelity has it, the network of published FID and KID
    alex, vgg, squeeze   LPIPS, with the weights that were fitted to people's judgements, for PPL
    digits               a small one that comes with this project (pipeline/metrics/digits)
    any model of timm    with weights of the hub, or NAME=FILE with those of a .safetensors or .pth file

None stands in for another: where the weights of one can't be had, that is an error.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.backbones import make_backbone
from pipeline.config import HUB, SMALL, TrainSettings
from pipeline.core.errors import UserError

INCEPTION, DIGITS, LPIPS = "inception", "digits", ("alex", "vgg", "squeeze")

DIGITS_WEIGHTS = Path(__file__).parent / "digits" / "weights.safetensors"

AT_A_TIME = 64
"""Images that go through a network together."""

OTHERS = "or name another network: digits, or NAME=FILE with a model of timm and a file of its weights"


def backbone(name: str) -> nn.Module:
    """`digits`, or a model of timm as NAME or NAME=FILE: see backbones.make_backbone."""
    name, equals, file = name.partition("=")
    if equals and not (name and file):
        raise UserError(f"network {name + equals + file!r}: expected NAME, or NAME=FILE with its weights")
    if name == DIGITS:
        name, file = SMALL, str(DIGITS_WEIGHTS)
    settings = TrainSettings(backbone=name, pretrained=file or HUB, iterations=1)
    return make_backbone(settings, f"network {name}").eval()


@contextmanager
def weights_of(name: str, remedy: str) -> Iterator[None]:
    """Within it, an error is that the weights of `name` can't be had, or a package is not there: a UserError."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"network {name}: the package {error.name} is missing; pip install {error.name}"
        ) from error
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"network {name}: its weights can't be had ({reason}); {remedy}, {OTHERS}") from error


def as_tensor(images: np.ndarray) -> Tensor:
    """uint8 [n, H, W, 3] as uint8 [n, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def normalised(images: np.ndarray, network: nn.Module) -> Tensor:
    """uint8 [n, H, W, 3] as `network`, of `backbone`, takes them; UserError if it takes images of another size."""
    size, (height, width) = network.image_size, images.shape[1:3]
    if size is not None and (height, width) != (size, size):
        raise UserError(
            f"the images are {width}x{height}, but this network takes {size}x{size} alone: name another, or resize the "
            "images, which is not done here, for it changes what is measured"
        )
    mean, std = (torch.tensor(values)[:, None, None] for values in network.normalisation)
    return (as_tensor(images).float() / 255 - mean) / std


@torch.inference_mode()
def in_batches(images: np.ndarray, compute: Callable[[np.ndarray], Tensor]) -> np.ndarray:
    """What `compute` makes of all of `images`, a batch at a time: float64 [n, ...]."""
    starts = range(0, len(images), AT_A_TIME)
    return np.concatenate([compute(images[i : i + AT_A_TIME]).double().numpy() for i in starts])
