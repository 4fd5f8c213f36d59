"""Levels of a backbone: the outputs of its stem and of each of its stages, before they are pooled."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from pipeline.core.errors import UserError

STAGES = 4
"""The stages that the blocks of a vision transformer are divided into."""


def level_names(backbone: nn.Module) -> list[str]:
    """Return the names of the modules whose outputs are the levels of `backbone`, from images to features.

    Of a ResNet they are its stem after pooling and its four stages; of a vision transformer, its patch
    embedding and the last block of each quarter, both as in the code of MIRO (Cha et al., ECCV 2022). Other
    models have the modules that timm lists as their `feature_info`, and digits_cnn its four blocks.

    Raises:
        UserError: The backbone says nowhere what its levels are.
    """
    described: Any = backbone
    modules = dict(backbone.named_modules())
    if hasattr(backbone, "levels"):
        return list(described.levels)
    if "patch_embed.proj" in modules and "blocks.0" in modules:
        depth = len(described.blocks)
        return [
            "patch_embed.proj",
            *(f"blocks.{depth * stage // STAGES - 1}" for stage in range(1, STAGES + 1)),
        ]
    if not hasattr(backbone, "feature_info"):
        raise UserError(
            f"the backbone {type(backbone).__name__} has no levels, which the method needs: name another one "
            "in train.backbone, such as resnet50"
        )
    listed = getattr(described.feature_info, "info", described.feature_info)
    names = [each["module"] for each in listed]
    if names[:1] == ["act1"] and "maxpool" in modules:
        names[0] = "maxpool"
    return names


@contextmanager
def recorded_levels(backbone: nn.Module, names: list[str]) -> Iterator[list[Tensor]]:
    """Record the outputs of the modules `names` of `backbone` while it computes.

    Yields:
        A list that every pass within the context fills anew, in the order in which the modules computed.
    """
    outputs: list[Tensor] = []
    handles = [
        backbone.get_submodule(name).register_forward_hook(
            lambda module, inputs, output: outputs.append(output)
        )
        for name in names
    ]
    handles.append(backbone.register_forward_pre_hook(lambda module, inputs: outputs.clear()))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
