"""What the results of a suite look like, which differs between settings: a subclass for each kind of suite.

A new setting has its suite in pipeline/config, its plan in pipeline/planning, and a module here with a
subclass of `SuiteReport` as `REPORT`, which `MODULES` names.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pipeline.report.schema import Schema

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from pipeline.core.store import Store
    from pipeline.report.page.run_info import RunInfo
    from pipeline.report.plots.figure_cache import FigureSpec

MODULES = {
    "uda": "pipeline.report.trainings",
    "dg": "pipeline.report.trainings",
    "morph": "pipeline.report.morphs",
}
"""The module that reports suites of a setting."""

SuiteT = TypeVar("SuiteT")
PlanT = TypeVar("PlanT")
ArtifactsT = TypeVar("ArtifactsT")


@dataclass(frozen=True)
class Section:
    """The first section of a page: what was measured.

    Attributes:
        heading: Its heading, which is also its entry in the navigation.
        template: The file of its template in pipeline/report/page.
        best: The best result in a few words, or nothing.
        summary: What was compared, as a sentence.
        unit: What one result is of, in the plural: "trainings".
        facts: More lines for the list of settings: term and text.
        context: What the template needs beside.
    """

    heading: str
    template: str
    best: str
    summary: str
    unit: str
    facts: Sequence[tuple[str, str]] = ()
    context: Mapping[str, Any] = field(default_factory=dict)


class SuiteReport(ABC, Generic[SuiteT, PlanT, ArtifactsT]):
    """Records, tables, figures and page of one kind of suite.

    Attributes:
        schema: The form of its records.
        units: What one record is of, in the plural.
    """

    schema: Schema
    units: str

    @abstractmethod
    def records_of(self, plan: PlanT, cell: Any, store: "Store") -> list[dict[str, Any]]:
        """Return the records of a finished cell, as `records.write` takes them."""

    @abstractmethod
    def records_of_failed(self, plan: PlanT, cell: Any, reason: str) -> list[dict[str, Any]]:
        """Return the records of a cell whose job failed."""

    @abstractmethod
    def artifacts(self, plan: PlanT, store: "Store") -> ArtifactsT:
        """Return the artifacts that figures are drawn from."""

    @abstractmethod
    def no_artifacts(self, info: "RunInfo") -> ArtifactsT:
        """Return the artifacts where there is only a results folder, and no store."""

    @abstractmethod
    def write_tables(
        self, suite: SuiteT, records: "pd.DataFrame", artifacts: ArtifactsT, folder: Path
    ) -> list[Path]:
        """Write all tables below `folder`, and return their paths."""

    @abstractmethod
    def figures(self, suite: SuiteT, records: "pd.DataFrame", artifacts: ArtifactsT) -> "list[FigureSpec]":
        """Return the figures that records and artifacts suffice for."""

    @abstractmethod
    def on_terminal(
        self, suite: SuiteT, records: "pd.DataFrame", tasks: Sequence[str], width: int
    ) -> "list[RenderableType]":
        """Return the main table and its caption for a terminal of `width` columns."""

    def sentences(
        self, suite: SuiteT, records: "pd.DataFrame", tasks: Sequence[str], folder: Path
    ) -> list[str]:
        """Return what to print below the main table, one sentence a line."""
        return []

    @abstractmethod
    def section(self, info: "RunInfo", records: "pd.DataFrame") -> Section:
        """Return the first section of the page."""

    @abstractmethod
    def rows(self, suite: SuiteT) -> list[tuple[str, dict[str, Any]]]:
        """Return each row of the main table: its name, and the fields of a suite that has only this row."""

    @abstractmethod
    def tidy(self, records: "pd.DataFrame") -> "pd.DataFrame":
        """Return the records with one value of each measure a row, for `export`."""

    @abstractmethod
    def curves(self, records: "pd.DataFrame") -> Iterator[tuple[str, dict[int, dict[str, float]]]]:
        """Yield `SUITE/ROW` and, for each seed, numbers by tag, for `export` to trackers."""


def report_for(setting: str) -> SuiteReport[Any, Any, Any]:
    """Return the report of suites of a setting."""
    report: SuiteReport[Any, Any, Any] = importlib.import_module(MODULES[setting]).REPORT
    return report
