"""A suite becomes a plan: its graph of jobs, and the cells that they fill.

Pure: imports no torch, reads and writes nothing.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Self, TypeVar

from pipeline.config import AnySuite, BaseModelSpec, DatasetCard
from pipeline.core.job import Job
from pipeline.core.plugin import Plugin

PLANNERS = {
    "uda": "pipeline.planning.trainings",
    "dg": "pipeline.planning.trainings",
    "morph": "pipeline.planning.morphs",
}
"""The module that plans suites of a setting, by its function `plan_suite`."""


@dataclass(frozen=True)
class Cell(ABC):
    """One result of a suite, and the job that makes it.

    Attributes:
        job: The job whose artifact holds the result.
    """

    FIELDS: ClassVar[tuple[str, ...]]
    """The attributes that `--only` selects cells by."""

    job: Job

    def field(self, name: str) -> str:
        """Return one of `FIELDS` as text."""
        return str(getattr(self, name))

    @property
    def own_jobs(self) -> list[Job]:
        """The jobs that belong to this cell alone: if one of them fails, so does the cell."""
        return [self.job]


SuiteT = TypeVar("SuiteT", bound=AnySuite)
CellT = TypeVar("CellT", bound=Cell)


@dataclass(frozen=True)
class Plan(ABC, Generic[SuiteT, CellT]):
    """A suite with its graph and its cells.

    Attributes:
        suite: The suite.
        card: The card of its dataset.
        jobs: All jobs, each after its inputs.
        cells: All cells, in the order of the suite.
    """

    compared_unit: ClassVar[str]
    """What one of `compared` is called."""

    suite: SuiteT
    card: DatasetCard
    jobs: list[Job]
    cells: list[CellT]

    @property
    @abstractmethod
    def compared(self) -> list[str]:
        """What the suite compares: the names of its tasks, or its kinds of morphs."""

    def part(self, cells: list[CellT]) -> Self:
        """Return the plan of some of its cells, and of the jobs that they need."""
        needed = set(ordered(cell.job for cell in cells))
        return replace(self, cells=cells, jobs=[job for job in self.jobs if job in needed])


AnyPlan = Plan[Any, Any]


def ordered(last: Iterable[Job]) -> list[Job]:
    """Return the jobs `last` and all that they depend on, each once and after its inputs."""
    found: dict[str, Job] = {}

    def visit(job: Job) -> None:
        if job.key not in found:
            for needed in job.inputs.values():
                visit(needed)
            found[job.key] = job

    for job in last:
        visit(job)
    return list(found.values())


def make_plan(
    suite: AnySuite,
    card: DatasetCard,
    base_model: BaseModelSpec,
    plugins: Mapping[str, Plugin] | None = None,
    versions: Mapping[str, int] | None = None,
) -> AnyPlan:
    """Return the plan of a suite of any setting.

    Args:
        suite: The suite.
        card: The card of its dataset.
        base_model: Its base model, with the revision that config.resolve_base_model found.
        plugins: The plug-ins that declare methods which this project does not, by the method's name.
        versions: The versions of classifier methods whose version is not 1, by the method's name.

    Raises:
        UserError: The suite names a task, a domain or an analogy that this dataset does not have.
    """
    planner = importlib.import_module(PLANNERS[suite.setting])
    plan: AnyPlan = planner.plan_suite(suite, card, base_model, plugins or {}, versions or {})
    return plan
