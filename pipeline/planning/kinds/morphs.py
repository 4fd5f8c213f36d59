"""Job `morphs`: morphs of one sort of endpoints by one method."""

from collections.abc import Mapping

from pydantic import Field

from pipeline.config import Count, MorphKind, MorphMethod, Seed
from pipeline.core.job import Job, register
from pipeline.planning.kinds.morphing import (
    MorphingKind,
    MorphingParams,
    frame_bytes,
    frame_passes,
    tuning_passes,
)


class MorphsParams(MorphingParams):
    """Which endpoints are drawn from the training images of the domains, and how they are morphed.

    Kind `images`: from one image to another, of two classes in one domain. `styles`: from several images of a
    class in one domain to several of the same class in another. `subjects`: from several images of one class
    to several of another class, in one domain.
    """

    kind: MorphKind = Field(description="which endpoints are morphed")
    method: MorphMethod = Field(description="the morphing method")
    domains: list[str] = Field(min_length=1, description="the domains that endpoints are drawn from")
    words: list[str] = Field(min_length=2, description="words of each class in prompts")
    several: Count = Field(description="images of an endpoint of `styles` and `subjects`")
    frames: int = Field(ge=2, description="frames of a morph with its endpoints")
    seed: Seed = Field(description="seed of the endpoints")


@register
class Morphs(MorphingKind[MorphsParams]):
    """Fine-tunes on the endpoints where the method does, and samples the frames."""

    name = "morphs"
    params = MorphsParams
    code_version = 1
    module = "pipeline.diffusion.morph.stage"

    def morphs(self, params: MorphsParams) -> int:
        """Count the pairs of endpoints."""
        return params.pairs

    def passes(self, params: MorphsParams) -> int:
        """Count the passes of fine-tuning, which `ddim` does without, inversion and sampling."""
        tuning = 0 if params.method == "ddim" else tuning_passes(params)
        return tuning + frame_passes(params, params.method, params.frames)

    def disk(self, params: MorphsParams, inputs: Mapping[str, Job]) -> float:
        """Count the bytes of all frames."""
        return frame_bytes(params, params.pairs * params.frames)
