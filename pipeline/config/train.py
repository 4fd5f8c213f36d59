"""How a suite trains classifiers: stage three."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from pipeline.config.base import (
    Count,
    Fraction,
    Precision,
    Rate,
    Real,
    Strict,
    Whole,
    keyed_unless_default,
    nearest,
    never_keyed,
)
from pipeline.config.names import PathName
from pipeline.config.zero_shot import ZERO_SHOT, ZeroShotSettings

Resample = Literal["bilinear", "bicubic"]
"""A filter by which Pillow resizes."""


class Swad(Strict):
    """When SWAD averages weights (Cha et al. 2021). Its windows are counted in evaluations."""

    n_converge: Count = Field(
        default=3,
        description="averaging starts where the first loss of a window of this length is its smallest",
    )
    n_tolerance: Count = Field(
        default=6, description="averaging ends where all losses of a window of this length are too high"
    )
    tolerance_ratio: Annotated[Real, Field(ge=0)] = Field(
        default=0.3,
        description="how far above the mean of the first window a loss is too high, as a share of that mean",
    )
    valley: Literal["paper", "authors"] = keyed_unless_default(
        "paper",
        "which iterates are averaged: those of algorithm 1 of the `paper`, or those that the code of its "
        "`authors` averages, which gave the published numbers",
    )


class TrainSettings(Strict):
    """Stage three: one training loop for every method."""

    backbone: str = Field(description="feature extractor: `digits_cnn`, or a model of timm")
    pretrained: str | None = Field(
        default=None,
        description="weights of the backbone: `hub`, the path of a .safetensors or .pth file, "
        "`package:MODULE/FILE` for a file of an installed Python package, or null = drawn from the seed",
    )
    pretrained_sha256: str | None = Field(
        default=None,
        description="SHA-256 hash that the file of weights must have; null = any. The key of a training has "
        "the hash",
    )
    resample_positions: bool = keyed_unless_default(
        False,
        "vision transformers whose images have one size: resample the position embeddings to the size of the "
        "dataset's images, such as 224 pixels for DINOv2 instead of 518",
    )
    frozen_batchnorm: bool = Field(
        default=False, description="keep the statistics with which the backbone's BatchNorm layers came"
    )
    bottleneck: Count | None = Field(
        default=None, description="features of a layer between backbone and head; null = no such layer"
    )
    dropout: Annotated[Real, Field(ge=0, lt=1)] = Field(
        default=0.0, description="probability of dropout on features before the head, from 0 to below 1"
    )
    iterations: Count = Field(description="optimizer steps")
    batch_size: Count = Field(
        default=36,
        description="images in a step. uda: labelled images, and as many unlabelled target images. dg: "
        "images of each domain",
    )
    optimizer: Literal["sgd", "adam"] = Field(default="sgd", description="`sgd` with momentum, or `adam`")
    learning_rate: Rate = Field(default=0.005, description="learning rate of bottleneck and head")
    backbone_lr_factor: Rate = Field(
        default=0.1, description="learning rate of the backbone as a multiple of `learning_rate`"
    )
    weight_decay: Annotated[Real, Field(ge=0)] = Field(default=1e-3, description="weight decay (L2 penalty)")
    momentum: Fraction = Field(default=0.9, description="sgd: momentum, from 0 to 1")
    nesterov: bool = keyed_unless_default(True, "sgd: whether momentum is Nesterov's")
    backbone_momentum: Fraction | None = keyed_unless_default(
        None, "sgd: momentum of the backbone, from 0 to 1; null = `momentum`"
    )
    clip_norm: Rate | None = Field(
        default=None, description="largest norm of the gradient of all weights; null = no limit"
    )
    precision: Precision = Field(
        default="fp32", description="precision of the network's passes; weights and losses are always fp32"
    )
    compile: bool = keyed_unless_default(
        False, "compile the network by torch.compile: a minute or two at the start, then faster steps"
    )
    deterministic: bool = keyed_unless_default(
        False,
        "on a GPU: compute by deterministic algorithms, so that a seed gives the same bytes again on one "
        "card; false = cuDNN times its algorithms and takes the fastest. A CPU always gives the same bytes",
    )
    processes: Count = keyed_unless_default(
        1,
        "number of processes of one machine that share each batch, each with a GPU of its own; for backbones "
        "without BatchNorm, or with `frozen_batchnorm`",
    )
    schedule: Literal["inverse", "constant", "cosine"] = Field(
        default="inverse", description="learning-rate schedule"
    )
    inverse_gamma: Rate = keyed_unless_default(
        1e-3,
        "gamma of schedule `inverse`, which multiplies the learning rate by (1 + gamma * iteration)**-0.75",
    )
    holdout: Annotated[Real, Field(gt=0, lt=1)] = Field(
        default=0.2,
        description="dg: share of every source domain that is kept from training for checkpoint selection, "
        "between 0 and 1",
    )
    protocol: Literal["plain", "domainbed"] = keyed_unless_default(
        "plain",
        "dg: `domainbed` = as its code has it: the score counts 80 % of the target's images, and `oracle` "
        "chooses by the others; `holdout` of the made images is held out too; images are drawn with "
        "replacement; evaluations follow the first step and then every evaluate_every",
    )
    averaging: Literal["none", "swad"] = Field(
        default="none", description="average weights over the iterations that SWAD chooses, or not"
    )
    swad: Swad = Field(default=Swad(), description="the windows of SWAD")
    augment_shift: Annotated[Whole, Field(ge=0)] = Field(
        default=0, description="largest random translation of a training image, in pixels; with crop: none"
    )
    crop: Literal["none", "centre", "random_resized"] = Field(
        default="none",
        description="what training sees of an image. `none`: the whole image. Otherwise images are resized "
        "to 8/7 of the size that the network takes (256 pixels for 224): `centre` is the centre, "
        "`random_resized` a random part of random size. Evaluation then takes the centre",
    )
    crop_scale: Annotated[Real, Field(gt=0, le=1)] = Field(
        default=0.08,
        description="random_resized: smallest share of an image's area in a crop, above 0 to 1",
    )
    flip: bool = Field(
        default=False, description="mirror half of the training images; with crop: centre or random_resized"
    )
    crop_from: Literal["square", "original"] = keyed_unless_default(
        "square",
        "random_resized: what crops are cut out of. `square`: images resized to 8/7 of the size that the "
        "network takes. `original`: images as they are in their files; evaluation then sees the whole image",
    )
    resample: Resample = keyed_unless_default(
        "bilinear",
        "filter that resizes whole images, before the centre or a crop of a square is taken, or for an "
        "evaluation; with a crop. Crops are resized bilinearly. All filters are antialiased",
    )
    colour_jitter: Annotated[Real, Field(ge=0, le=0.5)] = keyed_unless_default(
        0.0,
        "change brightness, contrast and saturation of training images by factors of 1 - colour_jitter to "
        "1 + colour_jitter, and their hue by up to this share of its circle, from 0 to 0.5; with a crop",
    )
    grey: Fraction = keyed_unless_default(
        0.0, "probability that a training image is made grey, from 0 to 1; with a crop"
    )
    evaluate_every: Count | None = Field(
        default=None,
        description="iterations between evaluations; null = at the end alone, ten times if `selections` has "
        "more than `last`, and fifty times for SWAD",
    )
    checkpoint_every: Count = Field(default=500, description="iterations between checkpoints")
    keep_weights: bool = Field(default=False, description="keep the trained weights in the artifact")
    workers: Annotated[Whole, Field(ge=0)] = never_keyed(
        0, "threads that prefetch batches; 0 = none, which is best for images that are in memory"
    )
    cache_gib: Annotated[Real, Field(ge=0)] = never_keyed(
        8.0,
        "GiB on the disk for images that were decoded once, under $TERRABENCH_CACHE or results/cache; 0 = "
        "no cache. An image takes 3 bytes a pixel: 0.2 MB as a square of 256, and with crop_from: original "
        "as many pixels as its file has",
    )

    @model_validator(mode="after")
    def _processes_compile_nothing(self) -> "TrainSettings":
        if self.processes > 1 and self.compile:
            raise ValueError("compile is for one process; leave it out, or set processes: 1")
        return self

    @model_validator(mode="after")
    def _valley_has_evaluations(self) -> "TrainSettings":
        if self.swad.valley == "authors" and self.averaging != "swad":
            raise ValueError(
                "swad.valley: authors chooses iterates by the losses of SWAD's evaluations, which averaging: "
                f"{self.averaging} does not make; set averaging: swad, or leave swad.valley out"
            )
        return self

    @model_validator(mode="after")
    def _swad_has_enough_losses(self) -> "TrainSettings":
        needed = self.swad.n_converge + self.swad.n_tolerance
        if self.averaging == "swad" and self.evaluate_every is not None:
            first = 1 if self.protocol == "domainbed" else self.evaluate_every
            losses = max(0, self.iterations - first) // self.evaluate_every + (self.iterations >= first)
            if losses < needed:
                raise ValueError(
                    f"averaging: swad looks for a valley in {losses} losses, because evaluate_every is "
                    f"{self.evaluate_every} of {self.iterations} iterations; it needs at least {needed} "
                    "(swad.n_converge + swad.n_tolerance)"
                )
        return self

    @model_validator(mode="after")
    def _crop_fits_other_augmentation(self) -> "TrainSettings":
        for name in ("flip", "colour_jitter", "grey"):
            if self.crop == "none" and getattr(self, name):
                raise ValueError(f"{name} goes with a crop: centre or random_resized")
        if self.crop == "none" and self.resample != "bilinear":
            raise ValueError(f"resample: {self.resample} goes with a crop: centre or random_resized")
        if self.crop != "random_resized" and self.crop_from != "square":
            raise ValueError(f"crop_from: {self.crop_from} goes with crop: random_resized, not {self.crop}")
        if self.crop != "none" and self.augment_shift:
            raise ValueError(f"augment_shift goes with crop: none, not {self.crop}")
        return self


class MethodSpec(Strict):
    """A classifier method, with the hyper-parameters and settings that differ from the defaults."""

    name: PathName = Field(description="name of the method; the command `methods` lists them")
    label: PathName | None = Field(
        default=None,
        description="name in tables and records; null = the method's name, with +SWAD where weights are "
        "averaged",
    )
    hyperparameters: dict[str, float | int | bool | str] = Field(
        default={}, description="hyper-parameters by name; those left out keep the method's defaults"
    )
    train: dict[str, Any] = Field(
        default={}, description="settings of `train` that are different for this method"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def zero_shot(self) -> ZeroShotSettings | None:
        """The settings of a method that is not trained; None for one that is."""
        return ZeroShotSettings.model_validate(self.hyperparameters) if self.name == ZERO_SHOT else None

    @model_validator(mode="after")
    def _zero_shot_is_not_trained(self) -> "MethodSpec":
        try:
            zero_shot = self.zero_shot
        except ValidationError as error:
            (where, *_), said = error.errors()[0]["loc"], error.errors()[0]["msg"]
            known = nearest(str(where), ZeroShotSettings.model_fields)
            raise ValueError(f"method {self.name}: hyper-parameter {where}: {said}; {known}") from error
        if zero_shot and self.train:
            raise ValueError(f"method {self.name} is zero-shot and is not trained; leave its `train` out")
        return self


def method_label(name: str, settings: TrainSettings) -> str:
    """Return what a method is called by default: with SWAD it has another row than without."""
    return f"{name}+SWAD" if settings.averaging == "swad" else name
