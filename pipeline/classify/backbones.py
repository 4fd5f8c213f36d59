"""The networks that classify: a backbone, an optional bottleneck, and a linear head."""

import difflib

import torch
from torch import Tensor, nn

from pipeline.errors import UserError


class DigitsCnn(nn.Sequential):
    """A small network: images [n, 3, 32, 32] to features [n, 128], with 2.1 million products an image.

    Strides instead of pooling, for on a CPU elementwise passes over large maps cost more than convolutions.
    """

    num_features = 128
    normalisation = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        super().__init__(
            *_convolution(3, 16, kernel=5, stride=2),
            *_convolution(16, 32, kernel=3, stride=2),
            *_convolution(32, 64, kernel=3, stride=2),
            *_convolution(64, 128, kernel=3, stride=1),
            nn.AvgPool2d(4),
            nn.Flatten(),
        )


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class Network(nn.Module):
    """A backbone with a linear head on its features, or on those of a bottleneck between the two.

    mean, std: what an image with values in [0, 1] is normalised by, channel by channel, before it comes here.
    """

    def __init__(self, backbone: nn.Module, classes: int, bottleneck: int | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.mean, self.std = backbone.normalisation
        self.feature_count = bottleneck or backbone.num_features
        self.bottleneck = nn.Identity()
        if bottleneck:
            self.bottleneck = nn.Sequential(
                nn.Linear(backbone.num_features, bottleneck),
                nn.BatchNorm1d(bottleneck),
                nn.ReLU(inplace=True),
            )
        self.head = nn.Linear(self.feature_count, classes)

    def features(self, images: Tensor) -> Tensor:
        """images float [n, 3, H, W], normalised, to features [n, feature_count]: the head's input."""
        return self.bottleneck(self.backbone(images))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [n, feature_count] and logits [n, classes]."""
        features = self.features(images)
        return features, self.head(features)

    def new_parameters(self) -> list[nn.Parameter]:
        """Those of bottleneck and head, which no pretraining has seen."""
        return [*self.bottleneck.parameters(), *self.head.parameters()]


def build_network(name: str, classes: int, bottleneck: int | None, seed: int) -> Network:
    """The network with backbone `name` (`digits_cnn` or any of timm's), its weights drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = DigitsCnn() if name == "digits_cnn" else _from_timm(name)
        return Network(backbone, classes, bottleneck)


def _from_timm(name: str) -> nn.Module:
    """A model of timm without its head: images to [n, num_features]."""
    import timm  # takes seconds, which digits need not wait for

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, ["digits_cnn", *timm.list_models()], n=3)
        raise UserError(
            f"there is no backbone {name!r}; there are digits_cnn and what timm.list_models() names"
            + (f"; did you mean {' or '.join(close)}?" if close else "")
        )
    backbone = timm.create_model(name, num_classes=0)
    backbone.normalisation = backbone.default_cfg["mean"], backbone.default_cfg["std"]
    return backbone
