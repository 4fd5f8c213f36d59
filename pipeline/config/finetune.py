"""How a suite fine-tunes its adapters: stage one."""

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
    never_keyed,
)


class ValidationSettings(Strict):
    """The validation images of stage one: a row for each time t, a column for each of the first classes."""

    classes: Count = Field(default=4, description="number of classes that are shown")
    times: list[Real] = Field(
        default=[0.0, 0.5, 1.0],
        min_length=1,
        description="uda: the times t that are shown; dg shows the mean t of each source domain",
    )
    steps: SamplingSteps = Field(default=25, description="DDIM steps")
    weight: Annotated[Real, Field(ge=0)] = Field(
        default=7.5, description="guidance scale of classifier-free guidance; 1 = without guidance"
    )


class FinetuneSettings(Strict):
    """Stage one. The defaults are those of the authors of Terra, where they fit any base model."""

    steps: Count = Field(default=5000, description="optimizer steps")
    batch_size: Count = Field(
        default=4, description="images of each domain in a step, of all passes and processes together"
    )
    learning_rate: Rate = Field(default=5e-5, description="learning rate of A and B")
    middle_lr_factor: Rate = Field(
        default=100.0, description="terra: learning rate of W as a multiple of that of A and B"
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="learning-rate schedule after the warm-up"
    )
    warmup: Annotated[Whole, Field(ge=0)] = Field(
        default=0, description="steps in which the learning rate rises linearly to its full value"
    )
    weight_decay: Annotated[Real, Field(ge=0)] = Field(default=0.01, description="weight decay of AdamW")
    clip_norm: Rate = Field(default=1.0, description="largest norm of the gradient")
    source_prompt: str = Field(
        default="A {class}",
        description="prompt of a source image; {class} stands for the words of its class",
    )
    target_prompt: str = Field(default="An image", description="prompt of a target image, which has no label")
    unconditional: Fraction = Field(
        default=0.0, description="share of source prompts that are replaced by `target_prompt`, from 0 to 1"
    )
    early_bias: Rate = Field(
        default=1.0,
        description="timesteps are drawn as T * u**(1 / early_bias) with u uniform in [0, 1]: above 1, "
        "noisy timesteps are drawn more often",
    )
    checkpoint_every: Count = Field(default=100, description="steps between checkpoints")
    seed: Seed = Field(
        default=0, description="seed of the adapter's weights, of the batches and of the noise"
    )
    precision: Precision = keyed_unless_default(
        "fp32", "precision of the frozen model and of the passes; the adapter is always fp32"
    )
    compile: bool = keyed_unless_default(
        False, "compile the denoiser by torch.compile: a minute or two at the start, then faster steps"
    )
    deterministic: bool = keyed_unless_default(
        False,
        "on a GPU: compute by deterministic algorithms, so that a seed gives the same bytes again on one "
        "card; false = cuDNN times its algorithms and takes the fastest. A CPU always gives the same bytes",
    )
    gradient_accumulation: Count = keyed_unless_default(1, "number of passes that a batch is split into")
    processes: Count = keyed_unless_default(
        1, "number of processes of one machine that share a batch, each with a GPU of its own"
    )
    optimizer: Literal["adamw", "adamw8bit"] = keyed_unless_default(
        "adamw", "`adamw`, or `adamw8bit` of bitsandbytes, whose moments take a quarter of the memory"
    )
    snr_gamma: Rate | None = keyed_unless_default(
        None,
        "gamma of min-SNR loss weighting (Hang et al. 2023, who take 5); null = all timesteps weigh the same",
    )
    ema: Annotated[Real, Field(gt=0, lt=1)] | None = keyed_unless_default(
        None,
        "decay of an exponential moving average of the adapter, between 0 and 1, which is then kept instead "
        "of the last iterate; null = none",
    )
    validate_every: Count | None = keyed_unless_default(
        None, "steps between validation images; null = none are made"
    )
    validation: ValidationSettings = keyed_unless_default(
        ValidationSettings(), "what the validation images show"
    )
    encoding: Literal["cached", "fresh"] = keyed_unless_default(
        "cached",
        "how images become latents. `cached`: the centre square of each image is encoded once, to the mean "
        "of the VAE's posterior. `fresh`: whenever an image is drawn, a random square of it is encoded to a "
        "sample of the posterior, so that the VAE runs in every step; for adapters terra and lora",
    )
    pooled: bool = keyed_unless_default(
        False,
        "dg: a step has `batch_size` images of all source domains together, each with noise and a timestep "
        "of its own, instead of `batch_size` images of each domain, which share noise and timesteps",
    )
    gradient_checkpointing: bool = never_keyed(
        False, "compute activations twice instead of keeping them: slower, with less GPU memory"
    )

    @model_validator(mode="after")
    def _batch_can_be_shared(self) -> "FinetuneSettings":
        shares = self.processes * self.gradient_accumulation
        if self.batch_size % shares:
            raise ValueError(
                f"batch_size is {self.batch_size}; expected a multiple of processes * gradient_accumulation "
                f"= {shares}"
            )
        return self
