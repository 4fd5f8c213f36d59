"""What a training refuses of its settings and its dataset, known before any job runs. Imports no torch."""

from collections.abc import Iterator

from pipeline.config import HUB, SMALL, DatasetCard, FolderCard, Suite, TPredictorSettings, TrainSettings
from pipeline.core.errors import UserError

SMALL_SIZE = 32
"""The height and width of the images of digits_cnn."""


def faults_on_card(suite: Suite, card: DatasetCard) -> Iterator[str]:
    """Yield a sentence for each thing that a training of `suite` will refuse on the dataset of `card`."""
    stages: list[tuple[TrainSettings | TPredictorSettings, str]] = [(one, "train") for one in suite.backbones]
    if suite.setting == "dg" and suite.used_adapters:
        stages.append((suite.t_predictor, "t_predictor"))
    for settings, field in stages:
        try:
            check_backbone_fits(settings, field, card.image_size, card.name)
            if isinstance(card, FolderCard) and isinstance(settings, TrainSettings):
                check_shift(settings, in_files=True)
        except UserError as error:
            yield str(error)


def check_shift(settings: TrainSettings, in_files: bool) -> None:
    """Raise UserError if image files are to be translated, which works on images in memory alone."""
    if in_files and settings.augment_shift:
        raise UserError("train.augment_shift is for images in memory: with files, use train.crop instead")


def check_backbone_fits(
    settings: TrainSettings | TPredictorSettings, field: str, image_size: int, dataset: str
) -> None:
    """Check that a backbone exists, takes images of `image_size` pixels, and can have its weights.

    Args:
        settings: The settings that name it.
        field: The field of the suite that they come from, for messages.
        image_size: The height and width of images, in pixels.
        dataset: The name of their dataset, for messages.

    Raises:
        UserError: It does not exist, takes images of another size alone, cannot be shared by as many
            processes as the settings say, or the hub lacks its weights.
    """
    if settings.backbone == SMALL and settings.pretrained == HUB:
        raise UserError(
            f"{field}.pretrained: the hub has no weights of {SMALL}; state a file's path, or null"
        )
    size = fixed_image_size(settings.backbone)
    if isinstance(settings, TrainSettings) and settings.processes > 1 and not settings.frozen_batchnorm:
        from pipeline.backbones import has_batchnorm

        if has_batchnorm(settings.backbone):
            raise UserError(
                f"{field}.processes: {settings.backbone} has BatchNorm layers, which would use the "
                f"statistics of a share of the batch; set {field}.frozen_batchnorm: true, or processes: 1"
            )
    if isinstance(settings, TrainSettings) and settings.resample_positions:
        from pipeline.backbones import check_positions

        check_positions(settings.backbone, field, image_size)
    elif size not in (None, image_size):
        raise UserError(
            f"backbone {settings.backbone} takes images of {size} pixels alone, not the "
            f"{image_size} of {dataset}; name another one in {field}.backbone"
            + (", or set resample_positions: true if it is a vision transformer" * (field == "train"))
        )


def fixed_image_size(backbone: str) -> int | None:
    """Return the only height and width that a backbone takes; None if it takes any.

    Raises:
        UserError: There is no such backbone.
    """
    if backbone == SMALL:
        return SMALL_SIZE
    if backbone.partition(".")[0] in ("resnet18", "resnet50", "resnet101"):
        return None  # timm takes seconds to import
    from timm.models import get_pretrained_cfg

    from pipeline.backbones import check_backbone

    check_backbone(backbone)
    about = get_pretrained_cfg(backbone)
    return about.input_size[-1] if about is not None and about.fixed_input_size else None
