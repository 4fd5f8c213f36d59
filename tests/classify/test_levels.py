"""Levels of backbones: which modules they are, and their values in a ResNet by the code of MIRO's authors."""

import json

import pytest
import timm
import torch
from torch import Tensor

from pipeline.classify.levels import level_names, recorded_levels
from tests.classify.golden_samples import REFERENCE, numbers


def test_names() -> None:
    """Those of the authors for ResNet and vision transformer; for others, what timm lists."""
    expected = {
        "resnet50": ["maxpool", "layer1", "layer2", "layer3", "layer4"],
        "vit_tiny_patch16_224": ["patch_embed.proj", "blocks.2", "blocks.5", "blocks.8", "blocks.11"],
        "regnety_002": ["stem", "s1", "s2", "s3", "s4"],
    }
    for name, names in expected.items():
        with torch.device("meta"):
            backbone = timm.create_model(name, num_classes=0)
        assert level_names(backbone) == names


def weight(name: str, tensor: Tensor) -> Tensor:
    """A weight of the golden ResNet: small numbers, or positive ones for BatchNorm's scales."""
    drawn = torch.from_numpy(numbers(name, *tensor.shape))
    scale = "running_var" in name or (name.endswith("weight") and ("bn" in name or "downsample.1" in name))
    return 0.1 * drawn.abs() + 0.5 if scale else 0.05 * drawn


@pytest.mark.usefixtures("float64")
def test_levels_of_a_resnet_are_those_of_the_authors() -> None:
    backbone = timm.create_model("resnet18", num_classes=0).eval()
    weights = {
        name: weight(name, tensor) if tensor.is_floating_point() else tensor
        for name, tensor in backbone.state_dict().items()
    }
    backbone.load_state_dict(weights)
    with torch.no_grad(), recorded_levels(backbone, level_names(backbone)) as levels:
        backbone(torch.from_numpy(numbers("image", 1, 3, 224, 224)))
    expected = json.loads((REFERENCE / "dg_methods" / "levels.json").read_text())
    for level, values in enumerate(expected.values()):
        maps = levels[level]
        found = [*maps.shape, maps.mean().item(), maps.abs().max().item(), maps.std().item()]
        assert found == pytest.approx(values, rel=1e-10)
