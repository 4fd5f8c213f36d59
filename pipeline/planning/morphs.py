"""A suite of morphs becomes a graph of jobs: morphs of each kind by each method, and their scores."""

from dataclasses import dataclass

from pipeline.config import BaseModelSpec, DatasetCard, MorphKind, MorphMethod, MorphSuite
from pipeline.core.job import Job
from pipeline.planning.graph import ordered
from pipeline.planning.kinds.morphs import MorphsParams
from pipeline.planning.kinds.prepare import PrepareParams
from pipeline.planning.kinds.score import ScoreParams


@dataclass(frozen=True)
class MorphPlan:
    """A suite of morphs with its graph.

    Attributes:
        suite: The suite.
        card: The card of its dataset.
        jobs: All jobs, each after its inputs.
        scores: The jobs that score morphs, by kind and method.
    """

    suite: MorphSuite
    card: DatasetCard
    jobs: list[Job]
    scores: dict[tuple[str, str], Job]

    @property
    def tasks(self) -> list[str]:
        """What is compared: the kinds of morphs."""
        return list(self.suite.kinds)


def make_morph_plan(suite: MorphSuite, card: DatasetCard, base_model: BaseModelSpec) -> MorphPlan:
    """Return the plan of `suite`.

    Args:
        suite: The suite.
        card: The card of its dataset.
        base_model: Its base model, with the revision that config.resolve_base_model found.
    """
    data = Job("prepare", PrepareParams(card=card), {}, f"prepare {card.name}")
    scores: dict[tuple[str, str], Job] = {
        (kind, method): _score_job(suite, card, base_model, kind, method, data)
        for kind in suite.kinds
        for method in suite.methods
    }
    return MorphPlan(suite, card, ordered(scores.values()), scores)


def _score_job(
    suite: MorphSuite,
    card: DatasetCard,
    base_model: BaseModelSpec,
    kind: MorphKind,
    method: MorphMethod,
    data: Job,
) -> Job:
    """Return the job that scores the morphs of one kind by one method."""
    domains = list(card.domains)
    morphs_params = MorphsParams(
        kind=kind,
        method=method,
        domains=domains,
        words=[card.word(label) for label in range(len(card.classes))],
        base_model=base_model,
        pairs=suite.pairs,
        several=suite.several,
        frames=suite.frames,
        prompt=suite.prompt,
        morph=suite.morph,
        seed=suite.seed,
        threads=suite.threads,
    )
    morphs = Job("morphs", morphs_params, {"data": data}, f"morphs {kind} {method}")
    score_params = ScoreParams(
        kind=kind,
        method=method,
        domains=domains,
        distance=suite.distance,
        features=suite.features,
        threads=suite.threads,
    )
    return Job("score", score_params, {"data": data, "morphs": morphs}, f"score {kind} {method}")
