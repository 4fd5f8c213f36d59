"""Weights of other libraries, under the names that timm gives them.

The names are a public interface of both libraries; tests compare predictions on photographs.
"""

import re
from collections.abc import Mapping

from torch import Tensor

EFFICIENTNET_START = "_conv_stem.weight"
"""A name by which the weights of efficientnet_pytorch, and of its Lite variants, are recognised."""

OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
NOT_EXPANDED = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""The first block has no expansion, and timm numbers its BatchNorm layers from the depthwise convolution."""


def in_timm_names(weights: dict[str, Tensor], expected: Mapping[str, object]) -> dict[str, Tensor]:
    """Return `weights` with timm's names if they are those of efficientnet_pytorch, else unchanged.

    Blocks are numbered through there, and by stage and block in timm; their order is the same.

    Args:
        weights: Weights by name, as a file has them.
        expected: The names of the network that timm made.
    """
    if EFFICIENTNET_START not in weights or EFFICIENTNET_START in expected:
        return weights
    places = {".".join(name.split(".")[1:3]) for name in expected if name.startswith("blocks.")}
    blocks = [f"blocks.{place}" for place in sorted(places, key=lambda p: tuple(map(int, p.split("."))))]
    return {_renamed(name, blocks, weights): weight for name, weight in weights.items()}


def _renamed(name: str, blocks: list[str], weights: Mapping[str, Tensor]) -> str:
    """Return timm's name of one weight; a name that is not known stays, and is refused where it is loaded."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if match is None:
        layer, _, rest = name.partition(".")
        return f"{OUTER.get(layer, layer)}.{rest}"
    index, layer, rest = int(match[1]), match[2], match[3]
    layers = EXPANDED if f"_blocks.{index}._expand_conv.weight" in weights else NOT_EXPANDED
    if index >= len(blocks) or layer not in layers:
        return name
    return f"{blocks[index]}.{layers[layer]}.{rest}"
