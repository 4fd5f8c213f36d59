"""The networks that classify: a backbone, an optional bottleneck, and a linear head."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.config import HUB, SMALL, TrainSettings, nearest
from pipeline.errors import UserError
from pipeline.store import sha256

USUAL = ("resnet18", "resnet50", "resnet101", "vit_base_patch16_224")
"""Some of timm's thousand, to name in an error."""


class DigitsCnn(nn.Sequential):
    """A small network: images [n, 3, 32, 32] to features [n, 128], with 2.1 million products an image.

    Strides instead of pooling, for on a CPU elementwise passes over large maps cost more than convolutions.
    """

    num_features = 128
    image_size = 32
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
        """images float [n, 3, H, W], normalised, to features [n, feature_count]: the head's input."""
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
    check_backbone(settings.backbone)
    if (settings.backbone, settings.pretrained) == (SMALL, HUB):
        raise UserError(f"train.pretrained: the hub has no weights of {SMALL}; state a file's path, or null")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = DigitsCnn() if settings.backbone == SMALL else _from_timm(settings)
        if settings.pretrained not in (None, HUB):
            _load_weights(backbone, settings)
        return Network(backbone, classes, settings.bottleneck, settings.dropout, settings.frozen_batchnorm)


def check_backbone(name: str) -> None:
    """UserError unless `name` is digits_cnn, or a model of timm, with a tag or without: `resnet50.tv_in1k`."""
    if name == SMALL:
        return
    import timm  # takes seconds, which digits need not wait for

    models = timm.list_models()
    architecture, _, tag = name.partition(".")
    if architecture not in models:
        near = nearest(architecture, [SMALL, *models]).rpartition("; ")[2]
        hint = f"; {near}" if near.startswith("did you mean") else ""
        raise UserError(
            f"there is no backbone {architecture!r}; there are: {SMALL}, {', '.join(USUAL)}, "
            f"and {len(models) - len(USUAL)} more of timm {timm.__version__}{hint}"
        )
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise UserError(f"backbone {architecture!r} has no weights {tag!r}; {nearest(name, tagged)}")


def _from_timm(settings: TrainSettings) -> nn.Module:
    """A model of timm without its head: images to [n, num_features]."""
    import timm

    from_hub = settings.pretrained == HUB
    try:
        backbone = timm.create_model(settings.backbone, pretrained=from_hub, num_classes=0)
    except (OSError, RuntimeError) as error:  # no network; no weights of this model
        if not from_hub:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"train.pretrained: the weights of {settings.backbone} can't be had from the hub ({reason}); "
            "state the path of a file that holds them"
        ) from error
    about = backbone.default_cfg
    backbone.normalisation = about["mean"], about["std"]
    backbone.image_size = about["input_size"][-1] if about.get("fixed_input_size") else None
    return backbone


def _load_weights(backbone: nn.Module, settings: TrainSettings) -> None:
    """Put the weights of the file `settings.pretrained` into `backbone`; its head's, if it has one, are left out."""
    from timm.models import load_state_dict

    what, path = f"train.pretrained: {settings.pretrained}", Path(str(settings.pretrained))
    if not path.is_file():
        raise UserError(f"{what}: there is no such file")
    if settings.pretrained_sha256 not in (None, sha256(path)):
        raise UserError(f"{what} was changed after this run began; run again")
    try:
        held = load_state_dict(str(path), weights_only=True)
        shapes = {name: list(weight.shape) for name, weight in held.items()}
    except Exception as error:  # a file that holds no weights fails in a dozen ways
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{what} can't be read as weights, .safetensors or .pth ({reason})") from error
    heads = getattr(backbone, "default_cfg", {}).get("classifier") or ()
    heads = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    expected = {name: list(weight.shape) for name, weight in backbone.state_dict().items()}
    shapes = {name: shape for name, shape in shapes.items() if name in expected or not name.startswith(heads)}
    for name in [*expected, *shapes]:
        # Files from before PyTorch 0.4.1 do not count batches; nothing here reads the count.
        if expected.get(name) != shapes.get(name) and not name.endswith("num_batches_tracked"):
            sides = [shape or "absent" for shape in (shapes.get(name), expected.get(name))]
            raise UserError(
                f"{what} does not fit backbone {settings.backbone}: {name} is {sides[0]} in the file "
                f"and {sides[1]} in the network"
            )
    backbone.load_state_dict({name: held[name] for name in shapes}, strict=False)
