"""How a suite makes images: stage two."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import (
    Count,
    Fraction,
    Precision,
    Rate,
    Real,
    SamplingSteps,
    Seed,
    Strict,
    Whole,
    keyed_unless_default,
)
from pipeline.config.morph import BetweenSettings
from pipeline.config.t_predictor import GridSettings

LatentStatistics = Literal["own", "noise", "target"]
ImageFormat = Literal["png", "webp"]
BatchSize = Count | Literal["auto"]

Spacing = Literal["trailing", "leading", "linspace"]

Negative = Literal["target_prompt", "empty", "zeros"]

InversionStart = Literal["clean", "first"]

InversionTimestep = Literal["lower", "upper"]


class Guidance(Strict):
    """How predictions with the prompt and without it are combined."""

    weight: Annotated[Real, Field(ge=0)] = Field(
        default=7.5, description="guidance scale; 1 = without guidance, at half the cost"
    )
    content_scale: Fraction = Field(
        default=1.0,
        description="share of the adapter's update in the model that guides towards the class, from 0 to 1. "
        "1 = classifier-free guidance. 0 = the base model guides, because it knows the prompts of the "
        "classes, which no target image was trained with",
    )


class FlowSettings(Strict):
    """The picture of a domain flow: source images at several times t, where 0 is source and 1 is target."""

    examples: Count = Field(default=6, description="number of source images, one of each class in turn")
    times: list[Real] = Field(
        default=[0.0, 0.25, 0.5, 0.75, 1.0, 1.25],
        min_length=1,
        description="times t that are shown; above 1 the flow goes beyond the target",
    )


class GenerateSettings(Strict):
    """Stage two."""

    steps: SamplingSteps = Field(default=25, description="DDIM steps of sampling, and of inversion")
    spacing: Spacing = keyed_unless_default(
        "trailing",
        "training timesteps of the steps, T in all, by the names of diffusers (Lin et al. 2024, table 2). "
        "`trailing`: from T - 1 down by T / steps; `leading`: the multiples of T // steps below T, plus "
        "`steps_offset`; `linspace`: evenly from T - 1 to 0",
    )
    steps_offset: Annotated[Whole, Field(ge=0)] = keyed_unless_default(
        0, "added to every timestep of `spacing: leading`; 1 in the schedulers of Stable Diffusion"
    )
    negative: Negative = keyed_unless_default(
        "target_prompt",
        "what guidance leads away from: the embedding of `finetune.target_prompt`, that of the `empty` text, "
        "or `zeros`, as SDXL's own pipeline has it where no negative prompt is given",
    )
    batch_size: BatchSize = Field(
        default=8,
        description="images that are sampled together; `auto` = as many as fit into the memory of the GPU: "
        "a batch that does not fit is halved and tried again (8 on a CPU)",
    )
    save_size: Count | None = keyed_unless_default(
        None,
        "height and width of the saved images, in pixels; null = as they were sampled. Stage three sees the "
        "same pixels if this is the size that it resizes images to: 256 for a network of 224 with a crop",
    )
    image_format: ImageFormat = keyed_unless_default(
        "png", "format of the saved images: `png`, or `webp` without loss, which takes less space"
    )
    adapted: Count | None = Field(
        default=None,
        description="uda: number of source images to adapt, the same of each class; null = all",
    )
    generated: Count = Field(default=50, description="uda: target images to generate of each class")
    adapted_guidance: Guidance = Field(
        default=Guidance(weight=1.0), description="uda: guidance of adapted source images"
    )
    generated_guidance: Guidance = Field(
        default=Guidance(), description="uda: guidance of generated target images"
    )
    base_guidance: Guidance = Field(default=Guidance(), description="guidance of the control's images")
    interpolated_guidance: Guidance = Field(
        default=Guidance(), description="dg: guidance of images of interpolated domains"
    )
    grid: GridSettings = Field(default=GridSettings(), description="dg: the times t at which images are made")
    between: BetweenSettings = Field(
        default=BetweenSettings(),
        description="dg: how `lora_interp` and `diffmorpher` make images between source domains",
    )
    flow: FlowSettings | None = Field(
        default=None,
        description="uda: the picture that shows how images change from source to target; null = none",
    )
    inversion_depth: Annotated[Real, Field(gt=0, le=1)] = Field(
        default=1.0, description="how far towards noise an image is inverted, above 0; 1 = all the way"
    )
    inversion_start: InversionStart = keyed_unless_default(
        "clean",
        "noise level of an image that inversion starts from and sampling returns to: `clean`, none at all, "
        "or that of the `first` training timestep, as in DDIM with `set_alpha_to_one: false`",
    )
    inversion_timestep: InversionTimestep = keyed_unless_default(
        "lower",
        "timestep at which the noise of an inversion step is predicted from the latents at its lower end: "
        "that of the `lower` end, or that of the `upper`, as in diffusers' inverse DDIM",
    )
    inversion_refinements: Annotated[Whole, Field(ge=0)] = Field(
        default=0,
        description="fixed-point iterations of every inversion step, each of which costs as much as the "
        "step itself",
    )
    inversion_statistics: LatentStatistics = Field(
        default="own",
        description="mean and standard deviation that an inverted latent is given: its `own`, those of "
        "Gaussian `noise`, or those of an inverted `target` image, one of which is drawn for each",
    )
    scale: Rate = Field(default=1.0, description="factor on the adapter's update; 1 = as it was learned")
    adapted_scale: Rate | None = keyed_unless_default(
        None, "uda: the same factor for adapted source images; null = `scale`"
    )
    keep_aspect: bool = keyed_unless_default(
        False,
        "uda: adapt whole source images, whose longer side is the model's resolution, instead of their "
        "centre squares",
    )
    precision: Precision = Field(default="fp32", description="precision of the model's weights and passes")
    compile: bool = keyed_unless_default(
        False, "compile the denoiser by torch.compile: a minute or two at the start, then faster steps"
    )
    seed: Seed = Field(default=0, description="seed of the noise, and of the choice of images")

    @model_validator(mode="after")
    def _timesteps_exist(self) -> "GenerateSettings":
        if self.steps_offset and self.spacing != "leading":
            raise ValueError(
                f"steps_offset is {self.steps_offset}, but spacing: {self.spacing} has no offset; leave "
                "steps_offset out, or take spacing: leading"
            )
        if self.spacing == "linspace" and self.steps == 1:
            raise ValueError("spacing: linspace has two ends, but steps is 1; take 2 or more, or trailing")
        return self
