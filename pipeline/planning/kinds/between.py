"""Job `between`: stage two under dg by morphs, images between those of each pair of `pair_loras`."""

from collections.abc import Mapping

from pydantic import Field

from pipeline.config import Count, MorphMethod
from pipeline.core.job import Job, register
from pipeline.planning.kinds.morphing import MorphingKind, frame_passes
from pipeline.planning.kinds.pair_loras import PairLorasParams, count_pairs
from pipeline.planning.kinds.saved_images import SavedImages


class BetweenParams(PairLorasParams, SavedImages):
    """The pairs of `pair_loras`, and how the images between the two of a pair are made."""

    method: MorphMethod = Field(description="the morphing method")
    frames: Count = Field(description="images between the two of a pair")


@register
class Between(MorphingKind[BetweenParams]):
    """Makes images between source domains with the LoRAs of `pair_loras`."""

    name = "between"
    params = BetweenParams
    code_version = 1
    module = "pipeline.diffusion.morph.interpolated_images"
    settings_field = "generate.between.morph"

    def morphs(self, params: BetweenParams) -> int:
        """Count the pairs."""
        return count_pairs(params)

    def passes(self, params: BetweenParams) -> int:
        """Count the passes of inversion and sampling."""
        return frame_passes(params, params.method, params.frames)

    def disk(self, params: BetweenParams, inputs: Mapping[str, Job]) -> float:
        """Count the bytes of all frames."""
        return params.disk(count_pairs(params) * params.frames, params.base_model.resolution)
