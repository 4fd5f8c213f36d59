"""A suite of morphs becomes a plan: morphs of each kind by each method, and their scores."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.config import BaseModelSpec, DatasetCard, MorphKind, MorphMethod, MorphSuite
from pipeline.core.job import Job
from pipeline.core.plugin import Plugin
from pipeline.planning.graph import Cell, Plan, ordered
from pipeline.planning.kinds.morphs import MorphsParams
from pipeline.planning.kinds.prepare import PrepareParams
from pipeline.planning.kinds.score import ScoreParams


@dataclass(frozen=True)
class MorphCell(Cell):
    """The morphs of one kind by one method, and their scores.

    Attributes:
        kind: The kind of morphs.
        method: The method.
    """

    FIELDS = ("kind", "method")

    kind: MorphKind
    method: MorphMethod

    @property
    def morphs(self) -> Job:
        """The job that makes the morphs."""
        return self.job.inputs["morphs"]

    @property
    def own_jobs(self) -> list[Job]:
        """The morphs and their scores."""
        return [self.job, self.morphs]


@dataclass(frozen=True)
class MorphPlan(Plan[MorphSuite, MorphCell]):
    """A suite of morphs with its graph and its cells."""

    compared_unit = "kind"

    @property
    def compared(self) -> list[str]:
        """The kinds of morphs."""
        return list(dict.fromkeys(cell.kind for cell in self.cells))


def plan_suite(
    suite: MorphSuite,
    card: DatasetCard,
    base_model: BaseModelSpec,
    plugins: Mapping[str, Plugin],
    versions: Mapping[str, int],
) -> MorphPlan:
    """Return the plan of a suite of morphs; see `graph.make_plan`."""
    data = Job("prepare", PrepareParams(card=card), {}, f"prepare {card.name}")
    cells = [
        MorphCell(_score_job(suite, card, base_model, kind, method, data), kind, method)
        for kind in suite.kinds
        for method in suite.methods
    ]
    return MorphPlan(suite, card, ordered(cell.job for cell in cells), cells)


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
