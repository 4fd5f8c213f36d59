"""The classifier: a backbone, an optional bottleneck, and a linear head."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.backbones import make_backbone
from pipeline.config import TrainSettings


class Network(nn.Module):
    """A backbone, an optional bottleneck, and a linear head.

    The bottleneck is the transfer-learning library's of most methods: Linear, BatchNorm and ReLU, initialised
    as PyTorch does. A method may replace bottleneck and head by its own (see `factory.give_layers`).

    Args:
        backbone: See `make_backbone`.
        classes: The number of classes.
        bottleneck: The width of the bottleneck; None for no bottleneck.
        dropout: The rate of dropout on the features, before the head.
        frozen_batchnorm: Whether the backbone's BatchNorm layers neither use nor collect the statistics of
            batches. As in DomainBed, their weights are trained all the same.

    Attributes:
        mean: The means of the three channels that images are normalised by before they get here, for values
            in [0, 1].
        std: The standard deviations that they are normalised by.
        image_size: The only height and width that the backbone accepts; None if it accepts any.
        width: The width of the backbone's features, which the bottleneck gets.
        feature_count: The width d of the features that the head gets.
        classes: The number of classes.
    """

    def __init__(
        self,
        backbone: nn.Module,
        classes: int,
        bottleneck: int | None,
        dropout: float = 0.0,
        frozen_batchnorm: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.frozen_batchnorm = backbone, frozen_batchnorm
        described: Any = backbone
        width: int = described.num_features
        self.mean, self.std = described.normalisation
        self.image_size: int | None = getattr(backbone, "image_size", None)
        self.width, self.classes = width, classes
        self.feature_count = bottleneck or width
        self.bottleneck: nn.Module = nn.Identity()
        if bottleneck:
            self.bottleneck = nn.Sequential(
                nn.Linear(width, bottleneck),
                nn.BatchNorm1d(bottleneck),
                nn.ReLU(inplace=True),
            )
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.head: nn.Module = nn.Linear(self.feature_count, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the head's input, [n, feature_count], for normalised images float32 [n, 3, H, W]."""
        return self.dropout(self.bottleneck(self.backbone(images)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [n, feature_count] and logits [n, classes] of normalised images [n, 3, H, W]."""
        features = self.features(images)
        return features, self.head(features)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen BatchNorm layers stay in evaluation mode."""
        super().train(mode)
        if self.frozen_batchnorm:
            for layer in self.backbone.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def needs_several_images(self) -> bool:
        """Return whether a BatchNorm layer would use the statistics of the next batch."""
        return any(isinstance(layer, _BatchNorm) and layer.training for layer in self.modules())

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.head.parameters()).device


@contextmanager
def kept_statistics(network: nn.Module) -> Iterator[None]:
    """Let BatchNorm layers leave their running statistics as they are, for the duration of the context.

    In training mode they normalise by the statistics of the batch all the same.
    """
    tracking = [
        layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats
    ]
    for layer in tracking:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True


def build_network(settings: TrainSettings, classes: int, seed: int, image_size: int | None = None) -> Network:
    """Make the network of `settings`, for classes from 0 to `classes` - 1.

    Args:
        settings: Backbone, bottleneck, dropout and pretrained weights.
        classes: The number of classes.
        seed: Decides the weights that are not pretrained.
        image_size: The height and width of images, which `settings.resample_positions` needs.

    Raises:
        UserError: There is no such backbone, or its pretrained weights cannot be loaded or do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = make_backbone(settings, "train", image_size if settings.resample_positions else None)
        return Network(backbone, classes, settings.bottleneck, settings.dropout, settings.frozen_batchnorm)
