"""Job `flow`: stage two under uda, the images of the picture of a domain flow."""

from collections.abc import Mapping

from pydantic import Field

from pipeline.config import Count, PairParams
from pipeline.core.job import Job, register
from pipeline.planning.kinds.sampling import (
    InversionSettings,
    SamplingKind,
    SamplingParams,
    sampling_passes,
)


class FlowParams(SamplingParams):
    """Source images of `pair`, to be made at every one of `times`."""

    pair: PairParams = Field(description="the source and the target domain")
    inversion: InversionSettings = Field(description="how source images are inverted")
    examples: Count = Field(description="number of source images")
    times: list[float] = Field(description="the times t at which each is made")


@register
class Flow(SamplingKind[FlowParams]):
    """Makes some source images again at several times t."""

    name = "flow"
    params = FlowParams
    code_version = 1
    module = "pipeline.diffusion.generate.domain_flow"

    def images(self, params: FlowParams, inputs: Mapping[str, Job]) -> int:
        """Count the images of all times."""
        return params.examples * len(params.times)

    def passes(self, params: FlowParams) -> int:
        """Count the passes of guidance and inversion."""
        return sampling_passes(params, params.inversion, inverted=True)
