"""Job `pair_loras`: under dg, two LoRAs for each pair of images that will be morphed into each other."""

from collections.abc import Mapping
from math import comb

from pydantic import Field

from pipeline.config import DomainsParams
from pipeline.core.job import Job, register
from pipeline.planning.kinds.morphing import MorphingKind, MorphingParams, tuning_passes
from pipeline.planning.network_sizes import denoiser


class PairLorasParams(MorphingParams):
    """Pairs of images of one class from two source domains: `pairs` for each class and each two domains."""

    domains: DomainsParams = Field(description="the source domains")


def count_pairs(params: PairLorasParams) -> int:
    """Count the pairs of all classes and all two domains."""
    return params.pairs * len(params.domains.words) * comb(len(params.domains.sources), 2)


@register
class PairLoras(MorphingKind[PairLorasParams]):
    """Fine-tunes a LoRA on each image of a pair."""

    name = "pair_loras"
    params = PairLorasParams
    code_version = 1
    module = "pipeline.diffusion.morph.pair_loras"
    settings_field = "generate.between.morph"

    def morphs(self, params: PairLorasParams) -> int:
        """Count the pairs."""
        return count_pairs(params)

    def passes(self, params: PairLorasParams) -> int:
        """Count the passes of fine-tuning."""
        return tuning_passes(params)

    def disk(self, params: PairLorasParams, inputs: Mapping[str, Job]) -> float:
        """Count the weights of two LoRAs for each pair, in fp32."""
        return 8 * count_pairs(params) * denoiser(params.base_model).per_rank * params.morph.rank
