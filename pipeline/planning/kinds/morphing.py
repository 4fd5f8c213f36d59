"""What the kinds that morph images share: parameters, and the cost of fine-tuning, inversion and frames."""

from typing import TypeVar

from pydantic import Field

from pipeline.config import BaseModelSpec, Count, MorphSettings, Strict
from pipeline.core.job import JobKind, Reduction, Workload
from pipeline.planning.network_sizes import (
    FROZEN_TRAINING_PASSES,
    GIB,
    WHOLE_BASE_MODEL,
    denoiser,
    denoiser_name,
)


class MorphingParams(Strict):
    """The parameters that all jobs of morphing methods share."""

    base_model: BaseModelSpec = Field(description="the pretrained diffusion model")
    pairs: Count = Field(description="how many pairs of endpoints")
    prompt: str = Field(description="prompt of an endpoint; {class} stands for the words of its class")
    morph: MorphSettings = Field(description="how a morph is made")
    threads: Count = Field(description="CPU threads")


Morphed = TypeVar("Morphed", bound=MorphingParams)


class MorphingKind(JobKind[Morphed]):
    """The cost of morphs, which follows from the passes of the denoiser for one morph.

    Attributes:
        settings_field: Where a suite states the settings of morphs.
    """

    settings_field = "morph"

    def morphs(self, params: Morphed) -> int:
        """How many morphs a job makes, or fine-tunes LoRAs for."""
        raise NotImplementedError

    def passes(self, params: Morphed) -> int:
        """Passes of the denoiser for one morph."""
        raise NotImplementedError

    def work(self, params: Morphed, images: int) -> float:
        """Count the passes of all morphs."""
        one_pass = denoiser(params.base_model).pass_at(params.base_model.resolution)
        return self.morphs(params) * self.passes(params) * one_pass

    def rate_group(self, params: Morphed) -> str:
        """Compare jobs of one base model at one resolution on as many threads."""
        return f"{params.base_model.name} {params.base_model.resolution} {params.threads}"

    def workload(self, params: Morphed) -> Workload:
        """Name the base model, which is always in full precision."""
        return Workload("denoise", denoiser_name(params.base_model), params.base_model.resolution)

    def gpu_gib(self, params: Morphed) -> float:
        """Add up two denoisers, one of which is fine-tuned or at work, the adapters, and activations."""
        network, morph = denoiser(params.base_model), params.morph
        at_once = max(2 * morph.batch_size, morph.at_a_time / 20)
        activations = at_once * network.activations_at(params.base_model.resolution)
        weights = 4 * (1 + WHOLE_BASE_MODEL) * network.parameters + 32 * network.per_rank * morph.rank
        return (weights + activations) / GIB

    def reductions(self, params: Morphed) -> list[Reduction]:
        """Lower what changes no image before what does."""
        field, morph = self.settings_field, params.morph
        return [
            Reduction(f"{field}.at_a_time", morph.at_a_time, 3),
            Reduction(f"{field}.batch_size", morph.batch_size),
            Reduction(f"{field}.rank", morph.rank),
            Reduction("base_model.resolution", params.base_model.resolution),
        ]


def tuning_passes(params: MorphingParams) -> int:
    """Count the passes of fine-tuning on the two endpoints of one morph."""
    return FROZEN_TRAINING_PASSES * params.morph.tune_steps * 2 * params.morph.batch_size


def frame_passes(params: MorphingParams, method: str, frames: int) -> int:
    """Count the passes of inverting two endpoints and sampling frames, which DiffMorpher does twice."""
    sampled = frames * (2 if "diffmorpher" in method else 1)
    return params.morph.steps * (2 * (1 + params.morph.refinements) + sampled)


def frame_bytes(params: MorphingParams, frames: int) -> float:
    """Return about the bytes of the PNG files of `frames` frames: half of those of all pixels."""
    return 1.5 * frames * params.base_model.resolution**2
