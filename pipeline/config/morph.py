"""How a suite morphs one image into another, and uses morphs to make images between domains."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import (
    Count,
    Fraction,
    Pattern,
    Rate,
    Real,
    SamplingSteps,
    Seed,
    Strict,
    Whole,
    keyed_unless_default,
)

MorphMethod = Literal["ddim", "lora_interp", "terra", "diffmorpher", "terra_diffmorpher"]

PIXELS = "pixels"
"""The perceptual distance that needs no network: the root mean square of the differences of pixels."""

MORPHS = ("lora_interp", "diffmorpher")
"""The morphing methods that can be augmentations under dg."""


class MorphSettings(Strict):
    """How a morph is made.

    Steps and rate of fine-tuning, rank, layers and `attention` are those of DiffMorpher (Zhang et al., CVPR
    2024). Its code (Kevin-thu/DiffMorpher) has other values of batch_size (1), steps (50), depth (1),
    refinements (0), inversion_timestep (upper), blend (factors), attention_of (hidden), first_down (rank) and
    perceptual (alex). The defaults here reproduce the endpoints in any base model, at half the steps;
    docs/papers_code.md says more.
    """

    tune_steps: Count = Field(default=200, description="fine-tuning steps, of both endpoints together")
    batch_size: Count = Field(default=4, description="noisy images of each endpoint in a fine-tuning step")
    at_a_time: Annotated[Whole, Field(ge=3)] = Field(
        default=8,
        description="images that are sampled together, the two endpoints among them; 3 or more, depending "
        "on the memory of the GPU",
    )
    learning_rate: Rate = Field(default=2e-4, description="learning rate of fine-tuning")
    middle_lr_factor: Rate = Field(
        default=5.0, description="terra: learning rate of W as a multiple of that of A and B"
    )
    rank: Count = Field(default=16, description="rank and alpha of the Terra, and of each LoRA")
    first_down: Literal["fan_in", "rank"] = keyed_unless_default(
        "fan_in", "how A is drawn before training, as the field of adapters says"
    )
    blend: Literal["update", "factors"] = keyed_unless_default(
        "update",
        "lora_interp, diffmorpher: what is interpolated between the LoRAs of the endpoints: the update B A, "
        "or its factors A and B, as DiffMorpher's code does",
    )
    layers: list[Literal["Linear", "Conv2d"]] = Field(
        default=["Linear"], description="types of the layers that are adapted"
    )
    include: Pattern = Field(
        default=".*attn.*", description="regular expression that the whole name of an adapted layer matches"
    )
    steps: SamplingSteps = Field(default=25, description="DDIM steps of sampling, and of inversion")
    depth: Annotated[Real, Field(gt=0, le=1)] = Field(
        default=0.95,
        description="how far towards noise single images are inverted, above 0 to 1: inverted all the way, "
        "images are lost in some models",
    )
    refinements: Annotated[Whole, Field(ge=0)] = Field(
        default=2,
        description="fixed-point iterations of every inversion step, so that the endpoints are reproduced",
    )
    inversion_timestep: Literal["lower", "upper"] = keyed_unless_default(
        "lower",
        "end of an inversion step at whose timestep noise is predicted from the latents at its lower end; "
        "`upper` in DiffMorpher's code",
    )
    attention: Fraction = Field(
        default=0.6,
        description="diffmorpher: share of the steps, from the noisiest on, in which attention is "
        "interpolated, from 0 to 1",
    )
    attention_of: Literal["keys", "hidden"] = keyed_unless_default(
        "keys",
        "diffmorpher: what is interpolated in self-attention: keys and values, or the hidden states that "
        "both are projected from, as DiffMorpher's code does",
    )
    perceptual: str = Field(
        default=PIXELS,
        description="diffmorpher: the distance by which frames are placed at equal steps: `pixels`, or a "
        "network of `metrics`",
    )
    seed: Seed = Field(default=0, description="seed of fine-tuning")


class BetweenSettings(Strict):
    """dg: images between two images of one class from two source domains, made by a morphing method."""

    pairs: Count = Field(default=4, description="pairs of images for each class and each two source domains")
    frames: Count = Field(default=8, description="images between the two of a pair, without these two")
    morph: MorphSettings = Field(default=MorphSettings(), description="how a morph is made")
