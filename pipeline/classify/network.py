"""The networks that classify: a backbone, an optional bottleneck, and a linear head."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.backbones import make_backbone
from pipeline.config import TrainSettings


class Network(nn.Module):
    """A backbone with a linear head on its features, or on those of a bottleneck between the two.

    The bottleneck is the transfer-learning library's (Linear, BatchNorm, ReLU, drawn as PyTorch draws them).
    dropout: of the features, before the head. frozen_batchnorm: the backbone's BatchNorm layers never use or
    gather a batch's statistics; as in DomainBed their weights are trained all the same.
    mean, std: what an image with values in [0, 1] is normalised by, channel by channel, before it comes here.
    image_size: the only height and width that the backbone takes, None if it takes any.
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
        self.mean, self.std = backbone.normalisation
        self.image_size = getattr(backbone, "image_size", None)
        self.feature_count = bottleneck or backbone.num_features
        self.bottleneck = nn.Identity()
        if bottleneck:
            self.bottleneck = nn.Sequential(
                nn.Linear(backbone.num_features, bottleneck),
                nn.BatchNorm1d(bottleneck),
                nn.ReLU(inplace=True),
            )
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.head = nn.Linear(self.feature_count, classes)

    def features(self, images: Tensor) -> Tensor:
        """Images float [n, 3, H, W], normalised, to features [n, feature_count]: the head's input."""
        return self.dropout(self.bottleneck(self.backbone(images)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [n, feature_count] and logits [n, classes]."""
        features = self.features(images)
        return features, self.head(features)

    def train(self, mode: bool = True) -> Self:
        """Training mode or not; frozen BatchNorm layers stay out of it."""
        super().train(mode)
        if self.frozen_batchnorm:
            for layer in self.backbone.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def needs_several_images(self) -> bool:
        """Whether a BatchNorm layer would take the statistics of the next batch."""
        return any(isinstance(layer, _BatchNorm) and layer.training for layer in self.modules())

    def new_parameters(self) -> list[nn.Parameter]:
        """Those of bottleneck and head, which no pretraining has seen."""
        return [*self.bottleneck.parameters(), *self.head.parameters()]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.head.weight.device


def build_network(settings: TrainSettings, classes: int, seed: int) -> Network:
    """The network of `settings`; the weights that are not pretrained are drawn from `seed`.

    UserError if there is no such backbone, or its pretrained weights can't be had or don't fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = make_backbone(settings, "train")
        return Network(backbone, classes, settings.bottleneck, settings.dropout, settings.frozen_batchnorm)
