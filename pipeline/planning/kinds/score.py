"""Job `score`: FID, KID and PPL of the morphs of one kind and method."""

from pydantic import Field

from pipeline.config import Count, MorphKind, MorphMethod, Strict
from pipeline.core.job import JobKind, register


class ScoreParams(Strict):
    """Which morphs are scored, and by which networks (see pipeline/metrics)."""

    kind: MorphKind = Field(description="which endpoints were morphed")
    method: MorphMethod = Field(description="the morphing method")
    domains: list[str] = Field(description="the domains that endpoints were drawn from")
    distance: str = Field(description="network of PPL")
    features: str = Field(description="network of FID and KID")
    threads: Count = Field(description="CPU threads")


@register
class Score(JobKind[ScoreParams]):
    """Scores morphs; nothing is known of its cost."""

    name = "score"
    params = ScoreParams
    code_version = 1
    module = "pipeline.metrics.stage"
