"""The sizes of the networks that jobs use, for estimates of time and memory. Imports no torch."""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.config import SMALL, BaseModelSpec, TPredictorParams, TrainParams, base_model_path

GIB = 2**30


@dataclass(frozen=True)
class Network:
    """The size of a network, for one image of `side` pixels.

    multiply_adds: of a forward pass; activations: bytes kept for the backward pass in fp32; per_rank: parameters of an
    adapter on all its layers, for each of its ranks.
    """

    parameters: float
    multiply_adds: float
    activations: float
    side: int
    per_rank: float = 0.0

    def at(self, side: int) -> float:
        """How many times the figures for one image grow when its sides are `side` pixels."""
        return (side / self.side) ** 2


SD15 = Network(8.60e8, 4.02e11, 4.4 * GIB, 512, 1.06e6)
SDXL = Network(2.57e9, 3.38e12, 23.0 * GIB, 1024, 3.09e6)
MINI = Network(1.71e6, 8.26e7, 5.0e6, 32, 3.66e4)
RESNET50 = Network(2.56e7, 4.09e9, 8.4e7, 224)
BACKBONES = {
    SMALL: Network(9.97e4, 2.08e6, 4.0e5, 32),
    "resnet18": Network(1.17e7, 1.81e9, 2.4e7, 224),
    "resnet50": RESNET50,
    "resnet101": Network(4.45e7, 7.80e9, 1.24e8, 224),
    "vit_base_patch16_224": Network(8.66e7, 1.76e10, 1.23e8, 224),
}
"""Counted on the architectures by torch.utils.flop_counter and torch.autograd.graph.saved_tensors_hooks."""


def denoiser(spec: BaseModelSpec) -> Network:
    """The denoiser of a base model: counted for `mini`, SD 1.5 and SDXL, or as one of these scaled to a folder's weights."""
    if spec.name == "mini":
        return MINI
    folder = Path(base_model_path(spec))
    return _scaled(folder) if folder.is_dir() else SDXL if "xl" in spec.name.lower() else SD15


@cache
def _scaled(folder: Path) -> Network:
    """The denoiser in a diffusers folder: SD 1.5, or SDXL where there are two text encoders, times its parameters."""
    like = SDXL if (folder / "text_encoder_2").is_dir() else SD15
    shapes = [shape for path in sorted((folder / "unet").glob("*.safetensors")) for shape in _shapes(path)]
    if not shapes:  # BaseModel.load says what is wrong with such a folder
        return like
    parameters = sum(map(math.prod, shapes))
    more = parameters / like.parameters
    per_rank = sum(math.prod(shape[1:]) + shape[0] for shape in shapes if len(shape) in (2, 4))
    return Network(parameters, like.multiply_adds * more, like.activations * more, like.side, per_rank)


def _shapes(path: Path) -> list[list[int]]:
    """The shapes of the tensors of a safetensors file, from its header: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]


def backbone(params: TrainParams | TPredictorParams) -> Network:
    """The backbone of a classifier or a t-predictor; one that is not in the table is taken for a ResNet-50."""
    return BACKBONES.get(params.settings.backbone.partition(".")[0], RESNET50)
