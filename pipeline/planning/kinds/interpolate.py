"""Job `interpolate`: stage two under dg, images of every class at the points of a grid of t."""

from collections.abc import Mapping

from pydantic import Field

from pipeline.config import DomainsParams, GridSettings
from pipeline.core.job import Job, register
from pipeline.planning.kinds.finetune import FinetuneParams
from pipeline.planning.kinds.sampling import (
    InversionSettings,
    SamplingKind,
    SamplingParams,
    sampling_passes,
)


class InterpolateParams(SamplingParams):
    """The grid of t, and how images are inverted where they are made from source images."""

    domains: DomainsParams = Field(description="the source domains")
    grid: GridSettings = Field(description="the times t at which images are made")
    inversion: InversionSettings = Field(description="how source images are inverted")


@register
class Interpolate(SamplingKind[InterpolateParams]):
    """Makes images of the interpolated domains."""

    name = "interpolate"
    params = InterpolateParams
    code_version = 1
    module = "pipeline.diffusion.generate.interpolate"

    def images(self, params: InterpolateParams, inputs: Mapping[str, Job]) -> int:
        """Count the images at all points of the grid, of which only those near the predicted t are made."""
        t_dim = inputs["adapter"].params_as(FinetuneParams).adapter.t_dim
        return params.grid.most(t_dim) * params.grid.per_class * len(params.domains.words)

    def passes(self, params: InterpolateParams) -> int:
        """Count the passes of guidance and inversion."""
        return sampling_passes(params, params.inversion, inverted=params.grid.start == "source")
