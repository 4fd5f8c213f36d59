"""Backbones, with or without pretrained weights: digits_cnn, and the models of timm."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.config import HUB, SMALL, TPredictorSettings, TrainSettings, nearest, weights_file
from pipeline.core.errors import UserError
from pipeline.core.store import sha256
from pipeline.core.tensor_files import refuse_non_finite
from pipeline.weight_names import in_timm_names

USUAL = ("resnet18", "resnet50", "resnet101", "vit_base_patch16_224")
"""The models of timm that an error message names."""


BACKBONE = "backbone."
"""What the names of a backbone's weights begin with in a classifier's model.safetensors."""


class DigitsCnn(nn.Sequential):
    """A small backbone: images [n, 3, 32, 32] to features [n, 128], by 2.1 million multiplications an image.

    It has strides instead of pooling, because on a CPU elementwise passes over large maps cost more than
    convolutions.
    """

    num_features = 128
    image_size = 32
    levels = ("2", "5", "8", "11")  # after the ReLU of each convolution
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


def make_backbone(
    settings: TrainSettings | TPredictorSettings, field: str, side: int | None = None
) -> nn.Module:
    """Make the backbone of `settings`. Weights that are not pretrained are drawn from torch's generator.

    Args:
        settings: The backbone's name and its pretrained weights.
        field: The field of the suite that `settings` come from, for error messages.
        side: The height and width of images for which the position embeddings of a vision transformer are
            resampled; None leaves them as they are.

    Returns:
        A module from normalised images float32 [n, 3, H, W] to features [n, num_features]. Its attributes:
        `num_features`; `normalisation`, the means and standard deviations of the three channels, for values
        in [0, 1]; `image_size`, the only height and width that it accepts, None if it accepts any.

    Raises:
        UserError: There is no such backbone, or its pretrained weights cannot be loaded or do not fit.
    """
    check_backbone(settings.backbone)
    if settings.backbone == SMALL and settings.pretrained == HUB:
        raise UserError(
            f"{field}.pretrained: the hub has no weights of {SMALL}; state a file's path, or null"
        )
    if side is not None:
        check_positions(settings.backbone, field, side)
    backbone = DigitsCnn() if settings.backbone == SMALL else _from_timm(settings, field, side)
    if settings.pretrained not in (None, HUB):
        _load_weights(backbone, settings, field)
    return backbone


def check_backbone(name: str) -> None:
    """Raise UserError unless `name` is digits_cnn or a model of timm, such as `resnet50.tv_in1k`."""
    if name == SMALL:
        return
    import timm  # takes seconds, which digits do not need

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


def check_positions(name: str, field: str, side: int) -> None:
    """Raise UserError unless the position embeddings of the backbone `name` can be resampled to images.

    Args:
        name: An existing backbone.
        field: The field of the suite that names it, for the message.
        side: The height and width of the images, in pixels.
    """
    fault = f"{field}.resample_positions: {name} has no position embeddings; leave resample_positions out"
    if name == SMALL:
        raise UserError(fault)
    import timm

    try:
        with torch.device("meta"):  # without memory and without time
            model: Any = timm.create_model(name, num_classes=0, img_size=side)
        patch = max(model.patch_embed.patch_size)
    except (TypeError, AttributeError) as error:  # the architecture takes no img_size, or has no patches
        raise UserError(fault) from error
    if side % patch:
        raise UserError(
            f"{field}.resample_positions: {name} cuts images into patches of {patch} pixels, which do not "
            f"divide {side}; name another backbone"
        )


def has_batchnorm(name: str) -> bool:
    """Return whether the backbone `name`, which exists, has BatchNorm layers."""
    if name == SMALL:
        return True
    import timm

    with torch.device("meta"):
        layers = timm.create_model(name, num_classes=0).modules()
    return any(isinstance(layer, _BatchNorm) for layer in layers)


def _from_timm(settings: TrainSettings | TPredictorSettings, field: str, side: int | None) -> nn.Module:
    """Make a model of timm without its head: images [n, 3, H, W] to features [n, num_features]."""
    import timm

    from_hub = settings.pretrained == HUB
    sized: dict[str, Any] = {} if side is None else {"img_size": side}
    try:
        backbone: Any = timm.create_model(settings.backbone, pretrained=from_hub, num_classes=0, **sized)
    except (OSError, RuntimeError) as error:  # no network, or no weights of this model
        if not from_hub:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{field}.pretrained: the weights of {settings.backbone} can't be had from the hub ({reason}); "
            "state the path of a file that holds them"
        ) from error
    if from_hub:
        refuse_non_finite(f"{field}.pretrained: {settings.backbone} of the hub", backbone.state_dict())
    about = backbone.default_cfg
    backbone.normalisation = about["mean"], about["std"]
    backbone.image_size = side or (about["input_size"][-1] if about.get("fixed_input_size") else None)
    model: nn.Module = backbone
    return model


def _load_weights(backbone: nn.Module, settings: TrainSettings | TPredictorSettings, field: str) -> None:
    """Load the weights of the file `settings.pretrained`, except those of a head."""
    from timm.models import load_state_dict

    what, path = f"{field}.pretrained: {settings.pretrained}", weights_file(str(settings.pretrained))
    if not path.is_file():
        raise UserError(f"{what}: there is no such file")
    if settings.pretrained_sha256 not in (None, sha256(path)):
        raise UserError(f"{what} was changed after this run began; run again")
    try:
        weights_of_file = in_timm_names(load_state_dict(str(path), weights_only=True), backbone.state_dict())
        held = _backbone_of(weights_of_file, set(backbone.state_dict()))
        if getattr(settings, "resample_positions", False):
            held = _resampled(held, backbone)
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
    weights = {name: held[name] for name in shapes}
    refuse_non_finite(what, weights)
    backbone.load_state_dict(weights, strict=False)


def _resampled(held: dict[str, Any], backbone: Any) -> dict[str, Any]:
    """Return weights whose position embeddings fit the grid of patches of `backbone`, as timm makes them."""
    from timm.layers import resample_abs_pos_embed

    name, own = "pos_embed", backbone.state_dict().get("pos_embed")
    if own is None or name not in held or held[name].shape == own.shape:
        return held
    prefix = 0 if backbone.no_embed_class else backbone.num_prefix_tokens
    grid = list(backbone.patch_embed.grid_size)
    return held | {name: resample_abs_pos_embed(held[name], grid, num_prefix_tokens=prefix)}


def _backbone_of(held: dict[str, Any], expected: set[str]) -> dict[str, Any]:
    """Return the backbone's weights in a file of a whole classifier or t-predictor of this project.

    Their names begin with BACKBONE; the other weights, such as those of a bottleneck and a head, are left
    out. The weights of another file are returned unchanged.
    """
    if expected & held.keys():
        return held
    of_backbone = {name.removeprefix(BACKBONE): held[name] for name in held if name.startswith(BACKBONE)}
    return of_backbone if expected & of_backbone.keys() else held
