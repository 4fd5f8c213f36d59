"""What the kinds of stage two that sample images with an adapter share: parameters and cost."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import Field

from pipeline.config import (
    BaseModelSpec,
    BatchSize,
    Count,
    Guidance,
    InversionStart,
    InversionTimestep,
    LatentStatistics,
    Negative,
    Precision,
    Rate,
    Seed,
    Spacing,
    Strict,
    Whole,
    keyed_unless_default,
)
from pipeline.core.job import Job, JobKind, Reduction, Workload
from pipeline.planning.kinds.saved_images import SavedImages
from pipeline.planning.network_sizes import GIB, WHOLE_BASE_MODEL, denoiser, denoiser_name


class InversionSettings(Strict):
    """How images are inverted to noise (see GenerateSettings). Images that start from noise have depth 1."""

    depth: float = Field(description="how far towards noise an image is inverted, above 0 to 1")
    refinements: int = Field(description="fixed-point iterations of every inversion step")
    statistics: LatentStatistics = Field(
        description="mean and standard deviation that an inverted latent is given"
    )
    start: InversionStart = keyed_unless_default("clean", "noise level that inversion starts from")
    timestep: InversionTimestep = keyed_unless_default(
        "lower", "end of an inversion step at whose timestep noise is predicted"
    )


class SamplingParams(SavedImages):
    """The parameters that all jobs of stage two share."""

    base_model: BaseModelSpec = Field(description="the pretrained diffusion model")
    guidance: Guidance = Field(description="how predictions with and without the prompt are combined")
    steps: Count = Field(description="DDIM steps")
    spacing: Spacing = keyed_unless_default("trailing", "training timesteps of the steps")
    steps_offset: Whole = keyed_unless_default(0, "added to every timestep of leading spacing")
    negative: Negative = keyed_unless_default("target_prompt", "what guidance leads away from")
    batch_size: BatchSize = Field(description="images that are sampled together; auto = as many as fit")
    scale: Rate = Field(description="factor on the adapter's update")
    precision: Precision = keyed_unless_default("fp32", "of the model's weights and passes")
    compile: bool = keyed_unless_default(False, "whether the denoiser is compiled")
    source_prompt: str = Field(
        description="prompt of a source image; {class} stands for the words of its class"
    )
    target_prompt: str = Field(description="prompt of a target image")
    seed: Seed = Field(description="seed of the noise, and of the choice of images")
    threads: Count = Field(description="CPU threads")


Sampled = TypeVar("Sampled", bound=SamplingParams)


class SamplingKind(JobKind[Sampled]):
    """The cost of sampling images, which follows from the passes of the denoiser for one image and step."""

    def passes(self, params: Sampled) -> int:
        """Passes of the denoiser in a step, for one image."""
        raise NotImplementedError

    def images_per_pass(self, params: Sampled) -> int:
        """How many images the denoiser sees as one: four in a grid."""
        return 1

    def work(self, params: Sampled, images: int) -> float:
        """Count the passes of all steps for all images."""
        one_pass = denoiser(params.base_model).pass_at(params.base_model.resolution)
        return images * params.steps * self.passes(params) * one_pass

    def rate_group(self, params: Sampled) -> str:
        """Compare jobs of one base model at one resolution on as many threads."""
        return " ".join(map(str, [params.base_model.name, params.threads, *self.workload(params)]))

    def workload(self, params: Sampled) -> Workload:
        """Name the base model and how its passes are computed."""
        spec = params.base_model
        return Workload("denoise", denoiser_name(spec), spec.resolution, params.precision, params.compile)

    def half_precision(self, params: Sampled) -> bool:
        """Tell whether the model's weights and passes are in half precision."""
        return params.precision != "fp32"

    def gpu_gib(self, params: Sampled) -> float:
        """Add up the base model, the weights that a merged adapter changed, and activations of one layer."""
        network = denoiser(params.base_model)
        batch = 1 if params.batch_size == "auto" else params.batch_size
        at_once = batch * self.images_per_pass(params)
        activations = at_once * network.activations_at(params.base_model.resolution) / 20
        half = 2 if self.half_precision(params) else 1
        return (4 * (1 + WHOLE_BASE_MODEL) * network.parameters + activations) / half / GIB

    def disk(self, params: Sampled, inputs: Mapping[str, Job]) -> float:
        """Count the bytes of all images."""
        return params.disk(self.images(params, inputs), params.base_model.resolution)

    def reductions(self, params: Sampled) -> list[Reduction]:
        """Lower the batch, which changes no image, before precision and resolution."""
        return [
            Reduction("generate.batch_size", params.batch_size, "auto"),
            Reduction("generate.precision", params.precision, "bf16"),
            Reduction("base_model.resolution", params.base_model.resolution),
        ]


def sampling_passes(params: SamplingParams, inversion: InversionSettings, *, inverted: bool) -> int:
    """Count the passes of the denoiser in a step for one image.

    Args:
        params: What is sampled; a guidance weight other than 1 needs a pass with the prompt and one without.
        inversion: How images are inverted.
        inverted: Whether the image itself is inverted first. A target image, whose statistics it is given, is
            in any case.
    """
    passes = 1 if params.guidance.weight == 1 else 2
    images_inverted = int(inverted) + int(inversion.statistics == "target")
    return passes + images_inverted * (1 + inversion.refinements)
