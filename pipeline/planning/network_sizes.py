"""The sizes of the networks that jobs use, for estimates of time and memory. Imports no torch."""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.config import SMALL, BaseModelSpec, base_model_path

GIB = 2**30

TRAINING_PASSES = 3
"""The cost of a training step in forward passes: the backward pass takes one for the gradients of the
activations, and one for those of the weights."""

FROZEN_TRAINING_PASSES = 2
"""The same where the weights are frozen but for a low-rank adapter: their gradients are not computed."""

WHOLE_BASE_MODEL = 1.4
"""The parameters of a whole base model, with its text encoders and its VAE, over those of its denoiser."""

GRID_PASSES = 4
"""The images of an analogy's grid, and the cost of a pass over it in passes over one image."""


@dataclass(frozen=True)
class Network:
    """The size of a network.

    Attributes:
        parameters: Their number.
        multiply_adds: Those of a forward pass for one image of `side` pixels.
        activations: Bytes that such a pass keeps for the backward pass, in fp32.
        side: The height and width of that image, in pixels.
        per_rank: Parameters of an adapter on all layers of the network, for each of its ranks.
        encoding: Multiply-adds of the VAE's encoder for one such image, of a denoiser.
    """

    parameters: float
    multiply_adds: float
    activations: float
    side: int
    per_rank: float = 0.0
    encoding: float = 0.0

    def pass_at(self, side: int) -> float:
        """Multiply-adds of a forward pass for one image of `side` pixels."""
        return self.multiply_adds * (side / self.side) ** 2

    def encoding_at(self, side: int) -> float:
        """Multiply-adds of encoding one image of `side` pixels to a latent."""
        return self.encoding * (side / self.side) ** 2

    def activations_at(self, side: int) -> float:
        """Bytes that a pass for one image of `side` pixels keeps for the backward pass, in fp32."""
        return self.activations * (side / self.side) ** 2


SD15 = Network(8.60e8, 4.02e11, 4.4 * GIB, 512, 1.06e6, 5.58e11)
SDXL = Network(2.57e9, 3.38e12, 23.0 * GIB, 1024, 3.09e6, 2.44e12)
MINI = Network(1.71e6, 8.26e7, 5.0e6, 32, 3.66e4)
RESNET50 = Network(2.56e7, 4.09e9, 8.4e7, 224)
BASE_MODELS = {"mini": MINI, "sd15": SD15, "sdxl": SDXL}
BACKBONES = {
    SMALL: Network(9.97e4, 2.08e6, 4.0e5, 32),
    "resnet18": Network(1.17e7, 1.81e9, 2.4e7, 224),
    "resnet50": RESNET50,
    "resnet101": Network(4.45e7, 7.80e9, 1.24e8, 224),
    "vit_base_patch16_224": Network(8.66e7, 1.76e10, 1.23e8, 224),
}
"""Counted on the architectures by torch.utils.flop_counter and torch.autograd.graph.saved_tensors_hooks."""

NETWORKS = BASE_MODELS | BACKBONES
"""The networks whose size is known, by the names that `bench gpu` and files of rates use."""


def denoiser(spec: BaseModelSpec) -> Network:
    """Return the size of a base model's denoiser.

    `mini`, SD 1.5 and SDXL were counted; a diffusers folder is one of these, scaled to the number of its
    weights, and a hub id is SDXL if its name has "xl" in it and SD 1.5 otherwise.
    """
    folder = Path(base_model_path(spec))
    return _scaled(folder) if spec.name != "mini" and folder.is_dir() else BASE_MODELS[denoiser_name(spec)]


def denoiser_name(spec: BaseModelSpec) -> str:
    """Return which of BASE_MODELS a base model is, or is taken for."""
    if spec.name == "mini":
        return "mini"
    folder = Path(base_model_path(spec))
    is_xl = (folder / "text_encoder_2").is_dir() if folder.is_dir() else "xl" in spec.name.lower()
    return "sdxl" if is_xl else "sd15"


@cache
def _scaled(folder: Path) -> Network:
    """Scale SDXL (if `folder` has two text encoders) or SD 1.5 to the weights in a diffusers folder."""
    like = SDXL if (folder / "text_encoder_2").is_dir() else SD15
    shapes = [shape for path in sorted((folder / "unet").glob("*.safetensors")) for shape in _shapes(path)]
    if not shapes:  # BaseModel.load tells the user what is wrong with such a folder
        return like
    parameters = sum(map(math.prod, shapes))
    factor = parameters / like.parameters
    per_rank = sum(math.prod(shape[1:]) + shape[0] for shape in shapes if len(shape) in (2, 4))
    return Network(
        parameters, like.multiply_adds * factor, like.activations * factor, like.side, per_rank, like.encoding
    )


def _shapes(path: Path) -> list[list[int]]:
    """Read the shapes of the tensors of a safetensors file from its header: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]


def backbone(name: str) -> Network:
    """Return the size of the backbone called `name`, or of that for which it is taken."""
    return BACKBONES[backbone_name(name)]


def backbone_name(name: str) -> str:
    """Return which of BACKBONES a backbone is; any ViT-B is taken for one of them, others for a ResNet-50."""
    architecture = name.partition(".")[0]
    if architecture.startswith("vit_base_patch"):
        return "vit_base_patch16_224"
    return architecture if architecture in BACKBONES else "resnet50"
