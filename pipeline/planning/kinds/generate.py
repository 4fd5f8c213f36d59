"""Job `generate`: stage two under uda and of the control, one set of images."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from pipeline.config import Context, Count, PairParams, keyed_unless_default
from pipeline.core.job import Job, register
from pipeline.planning.kinds.prepare import card_of
from pipeline.planning.kinds.sampling import (
    InversionSettings,
    SamplingKind,
    SamplingParams,
    sampling_passes,
)
from pipeline.planning.network_sizes import GRID_PASSES


class GenerateParams(SamplingParams):
    """One set of made images. `pair` is None for the control, `base`, which knows no domain."""

    contents: Literal["adapted", "generated", "base"] = Field(description="which set of images")
    pair: PairParams | None = Field(description="the source and the target domain")
    words: list[str] = Field(description="words of each class in prompts")
    per_class: Count | None = Field(
        description="images of each class; null = every source image (adapted alone)"
    )
    inversion: InversionSettings = Field(description="how source images are inverted")
    keep_aspect: bool = keyed_unless_default(False, "adapt whole images instead of their centre squares")
    context: Context = keyed_unless_default("inversion", "of images made by analogy (see AnalogySpec)")


@register
class Generate(SamplingKind[GenerateParams]):
    """Makes adapted source images, generated target images, or images of the control."""

    name = "generate"
    params = GenerateParams
    code_version = 3
    module = "pipeline.diffusion.generate.stage"

    def images(self, params: GenerateParams, inputs: Mapping[str, Job]) -> int:
        """Count the images that are made."""
        if params.per_class is not None:
            return params.per_class * len(params.words)
        assert params.pair is not None, "the control states its number of images"
        return card_of(inputs).train_images(params.pair.source)

    def images_per_pass(self, params: GenerateParams) -> int:
        """Count the images of a grid, which the denoiser sees as one."""
        return GRID_PASSES if params.context == "grid" else 1

    def passes(self, params: GenerateParams) -> int:
        """Count those of guidance and inversion; a pass over a grid costs four, and nothing is inverted."""
        if params.context == "grid":
            return GRID_PASSES * (1 if params.guidance.weight == 1 else 2)
        return sampling_passes(params, params.inversion, inverted=params.contents == "adapted")
