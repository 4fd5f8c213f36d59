"""Job `flow`: stage two under uda, the images of the picture of a domain flow."""

from collections.abc import Mapping

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

    pair: PairParams
    inversion: InversionSettings
    examples: Count
    times: list[float]


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
