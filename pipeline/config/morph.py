"""How a morph between two ends, X and Y, is made, and how such morphs make images between domains."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Count, Fraction, Rate, Seed, Strict

MorphMethod = Literal["ddim", "lora_interp", "terra", "diffmorpher", "terra_diffmorpher"]

PIXELS = "pixels"
"""The perceptual distance that needs no network: the root mean square of the differences of pixels."""


class MorphSettings(Strict):
    """Defaults: DiffMorpher's (Zhang et al., CVPR 2024), for a Terra as for its two LoRAs."""

    tune_steps: Count = Field(default=200, description="fine-tuning steps, of both ends together")
    batch_size: Count = Field(default=4, description="noisy images of each end in a tuning step")
    at_a_time: Annotated[int, Field(ge=3)] = Field(
        default=8, description="images that are sampled together: the two ends, and frames between"
    )
    learning_rate: Rate = 2e-4
    middle_lr_factor: Rate = Field(default=5.0, description="terra: learning rate of W over that of A and B")
    rank: Count = Field(default=16, description="of the Terra, and of each LoRA; alpha is the same")
    layers: list[Literal["Linear", "Conv2d"]] = Field(default=["Linear"])
    include: str = Field(
        default=".*attn.*", description="regular expression that the names of adapted layers match"
    )
    steps: Count = Field(default=25, description="DDIM steps, of inversion as of sampling")
    depth: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.95,
        description="how far towards noise single images are inverted: all the way, some models keep nothing of them",
    )
    refinements: Annotated[int, Field(ge=0)] = Field(
        default=2, description="fixed-point iterations per inversion step, so that the ends come back"
    )
    attention: Fraction = Field(
        default=0.6,
        description="diffmorpher: share of the steps, the noisy ones, whose attention is interpolated",
    )
    perceptual: str = Field(
        default=PIXELS,
        description="diffmorpher: the distance by which frames are placed at equal steps (pipeline/metrics)",
    )
    seed: Seed = 0


MORPHS = ("lora_interp", "diffmorpher")
"""The morphing methods that may be augmentations under dg."""


class BetweenSettings(Strict):
    """dg: images between two images of one class, each from another source domain, by a morphing method."""

    pairs: Count = Field(default=4, description="of images, for each class and each two domains")
    frames: Count = Field(
        default=8, description="images between the two of a pair, which themselves are not among them"
    )
    morph: MorphSettings = MorphSettings()
