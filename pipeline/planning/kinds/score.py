"""Job `score`: FID, KID and PPL of the morphs of one kind and method."""

from pipeline.config import Count, MorphKind, MorphMethod, Strict
from pipeline.core.job import JobKind, register


class ScoreParams(Strict):
    """Which morphs are scored, and by which networks (see pipeline/metrics)."""

    kind: MorphKind
    method: MorphMethod
    domains: list[str]
    distance: str
    features: str
    threads: Count


@register
class Score(JobKind[ScoreParams]):
    """Scores morphs; nothing is known of its cost."""

    name = "score"
    params = ScoreParams
    code_version = 1
    module = "pipeline.metrics.stage"
