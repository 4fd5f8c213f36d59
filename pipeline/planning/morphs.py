"""A suite of morphs becomes a graph of jobs, as plan.py has it: morphs of each kind by each method, and their scores."""

from dataclasses import dataclass

from pipeline.config import BaseModelSpec, DatasetCard, MorphsParams, MorphSuite, PrepareParams, ScoreParams
from pipeline.planning.graph import Job, ordered


@dataclass(frozen=True)
class MorphPlan:
    """All jobs of a suite of morphs, each after those it stands on. scores: by kind and method."""

    suite: MorphSuite
    card: DatasetCard
    jobs: list[Job]
    scores: dict[tuple[str, str], Job]

    @property
    def tasks(self) -> list[str]:
        """What is compared."""
        return list(self.suite.kinds)


def make_morph_plan(suite: MorphSuite, card: DatasetCard, base_model: BaseModelSpec) -> MorphPlan:
    """The graph of jobs of `suite`. base_model: with the revision that config.resolve_base_model found."""
    data = Job("prepare", PrepareParams(card=card), {}, f"prepare {card.name}")
    words, domains = [card.word(label) for label in range(len(card.classes))], list(card.domains)
    shared = {
        name: getattr(suite, name)
        for name in ("pairs", "several", "frames", "prompt", "morph", "seed", "threads")
    }
    scores = {}
    for kind in suite.kinds:
        for method in suite.methods:
            params = MorphsParams(
                kind=kind, method=method, domains=domains, words=words, base_model=base_model, **shared
            )
            morphs = Job("morphs", params, {"data": data}, f"morphs {kind} {method}")
            params = ScoreParams(
                kind=kind,
                method=method,
                domains=domains,
                distance=suite.distance,
                features=suite.features,
                threads=suite.threads,
            )
            inputs = {"data": data, "morphs": morphs}
            scores[kind, method] = Job("score", params, inputs, f"score {kind} {method}")
    return MorphPlan(suite, card, ordered(scores.values()), scores)
