"""Results of suites of trainings (uda, dg): accuracy tables, statistics, figures of all stages, the page."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline import __version__
from pipeline.config import Suite
from pipeline.core.store import Store, write_atomic
from pipeline.planning.kinds.classifier import ClassifierParams
from pipeline.planning.stages import AdapterJobs
from pipeline.planning.tasks import parse_task
from pipeline.planning.trainings import TrainingCell, TrainingPlan
from pipeline.report import training_records
from pipeline.report.artifacts import AdapterArtifacts, Artifacts, TaskArtifacts, artifact
from pipeline.report.schema import FAILED
from pipeline.report.suite_report import Section, SuiteReport
from pipeline.report.tables import (
    accuracy,
    export,
    formats,
    published,
    published_files,
    significance,
    significance_text,
)
from pipeline.report.tables.names import row_name

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.report.page.run_info import RunInfo
    from pipeline.report.plots.figure_cache import FigureSpec

MOST_SENTENCES = 8
"""With more gains than this, the terminal names the file that describes them."""


class TrainingReport(SuiteReport[Suite, TrainingPlan, Artifacts]):
    """Accuracies of classifiers."""

    schema = training_records.SCHEMA
    units = "trainings"

    def records_of(self, plan: TrainingPlan, cell: TrainingCell, store: Store) -> list[dict[str, Any]]:
        """Return a record for each selection rule."""
        job = cell.job
        own = {
            "suite": plan.suite.name,
            "method": cell.method,
            "seed": cell.seed,
            "key": job.key,
            "seconds": round(store.manifest(job.kind, job.key)["seconds"], 2),
        }
        fields = self.schema.required - own.keys()
        return [record | own for record in store.records(job.kind, job.key, "records.json", fields)]

    def records_of_failed(self, plan: TrainingPlan, cell: TrainingCell, reason: str) -> list[dict[str, Any]]:
        """Return a record without accuracy for each selection rule."""
        own: dict[str, Any] = {
            "suite": plan.suite.name,
            "method": cell.method,
            "seed": cell.seed,
            "key": cell.job.key,
            "accuracy": None,
            "per_class": [],
            "seconds": 0.0,
            "version": __version__,
            "status": FAILED,
            "reason": reason,
        }
        params = cell.job.params_as(ClassifierParams)
        return [params.identity() | {"selection": name} | own for name in params.selections]

    def artifacts(self, plan: TrainingPlan, store: Store) -> Artifacts:
        """Return the artifacts of all stages."""
        tasks = {}
        for task, jobs in plan.tasks.items():
            trained = {
                (cell.method, cell.augmentation, cell.seed): folder
                for cell in plan.cells
                if cell.task == task and (folder := artifact(cell.job, store)) is not None
            }
            adapters = {name: _adapter_artifacts(made, store) for name, made in jobs.adapters.items()}
            tasks[task] = TaskArtifacts(jobs.sources, jobs.target, adapters, trained)
        return Artifacts(plan.card.classes, artifact(plan.data, store), artifact(plan.base, store), tasks)

    def no_artifacts(self, info: "RunInfo") -> Artifacts:
        """Return classes and tasks alone."""
        suite: Suite = info.suite  # type: ignore[assignment]
        ends = {task: parse_task(task, info.card, suite.setting) for task in info.tasks}
        tasks = {task: TaskArtifacts(sources, target) for task, (sources, target) in ends.items()}
        return Artifacts(info.card.classes, None, None, tasks)

    def write_tables(
        self, suite: Suite, records: pd.DataFrame, artifacts: Artifacts, folder: Path
    ) -> list[Path]:
        """Write accuracies, published figures and statistics."""
        tasks = list(artifacts.tasks)
        written = write_accuracies(suite, tasks, artifacts.classes, records, folder)
        written += write_published(suite, tasks, records, folder)
        return written + write_statistics(suite, tasks, records, folder)

    def figures(self, suite: Suite, records: pd.DataFrame, artifacts: Artifacts) -> "list[FigureSpec]":
        """Return the figures of all stages."""
        from pipeline.report.plots.figures import list_figures  # imports matplotlib

        return list_figures(suite, records, artifacts)

    def on_terminal(
        self, suite: Suite, records: pd.DataFrame, tasks: Sequence[str], width: int
    ) -> "list[RenderableType]":
        """Return the accuracy table under the first selection rule."""
        table = accuracy.accuracy_table(records, suite, tasks, suite.selections[0])
        printed = formats.terminal(table, width)
        caption, printed.caption = printed.caption, None
        return [printed, caption or ""]

    def sentences(self, suite: Suite, records: pd.DataFrame, tasks: Sequence[str], folder: Path) -> list[str]:
        """Return a sentence for each gain by made images, or where to read them if there are many."""
        selection = suite.selections[0]
        found = significance_text.sentences(significance.statistics(records, suite, tasks, selection))
        if len(found) > MOST_SENTENCES:
            file = folder / "tables" / f"statistics_{selection}.md"
            return [f"gains by made images, in {len(found)} sentences: {file}"]
        return found

    def section(self, info: "RunInfo", records: pd.DataFrame) -> Section:
        """Return tables, gains and ranks under every selection rule."""
        from pipeline.report.page.accuracy_section import accuracy_section

        return accuracy_section(info, records)

    def rows(self, suite: Suite) -> list[tuple[str, dict[str, Any]]]:
        """Return the methods with each augmentation, `none` first."""
        return [
            (
                row_name(suite.label(method), augmentation),
                {
                    "methods": [method.model_dump(mode="json", exclude_unset=True)],
                    "augmentations": [augmentation],
                },
            )
            for method in suite.methods
            for augmentation in sorted(suite.augmentations_of(method), key=lambda name: name != "none")
        ]

    def tidy(self, records: pd.DataFrame) -> pd.DataFrame:
        """Return one accuracy a row, over all classes and of each class."""
        return export.tidy_accuracies(records)

    def curves(self, records: pd.DataFrame) -> Iterator[tuple[str, dict[int, dict[str, float]]]]:
        """Yield accuracies by `SELECTION/TASK`."""
        return export.accuracy_curves(records)


REPORT = TrainingReport()


def _adapter_artifacts(jobs: AdapterJobs, store: Store) -> AdapterArtifacts:
    """The finished artifacts of one adapter."""
    return AdapterArtifacts(
        finetune=artifact(jobs.finetune, store),
        times=artifact(jobs.times, store),
        flow=artifact(jobs.flow, store),
        made={name: artifact(job, store) for name, job in jobs.made.items()},
    )


def write_accuracies(
    suite: Suite, tasks: Sequence[str], classes: Sequence[str], records: pd.DataFrame, folder: Path
) -> list[Path]:
    """Write folder/tables/accuracy_SELECTION.{csv,md,tex,html} for every selection rule of the suite.

    Where the suite's metric is the mean of classes, also write classes_TASK_SELECTION.* for every task.
    """
    from pipeline.report.page.html_table import accuracy_html

    tables = {}
    for selection in suite.selections:
        tables[f"accuracy_{selection}"] = accuracy.accuracy_table(records, suite, tasks, selection)
        for task in tasks if suite.metric == "class_mean" else []:
            name = f"classes_{task.replace('->', '-to-')}_{selection}"
            tables[name] = accuracy.class_table(records, suite, task, classes, selection)
    writers = {
        ".csv": formats.csv,
        ".md": formats.markdown,
        ".tex": formats.latex,
        ".html": accuracy_html,
    }
    texts = {f"{name}{suffix}": w(table) for name, table in tables.items() for suffix, w in writers.items()}
    return _write_texts(folder, texts)


def write_published(suite: Suite, tasks: Sequence[str], records: pd.DataFrame, folder: Path) -> list[Path]:
    """Write folder/tables/published_SELECTION.{csv,md,tex} where a row has a published counterpart."""
    writers = {".csv": published.csv, ".md": published.markdown, ".tex": published.latex}
    figures = published_files.read_all(published_files.files())
    texts: dict[str, str] = {}
    for selection in suite.selections:
        table = published.published_table(records, suite, tasks, selection, figures)
        if table is not None:
            texts |= {f"published_{selection}{suffix}": w(table) for suffix, w in writers.items()}
    return _write_texts(folder, texts)


def write_statistics(suite: Suite, tasks: Sequence[str], records: pd.DataFrame, folder: Path) -> list[Path]:
    """Write folder/tables/statistics_SELECTION.{csv,md}."""
    writers = {".csv": significance_text.csv, ".md": significance_text.markdown}
    texts: dict[str, str] = {}
    for selection in suite.selections:
        found = significance.statistics(records, suite, tasks, selection)
        texts |= {f"statistics_{selection}{suffix}": w(found) for suffix, w in writers.items()}
    return _write_texts(folder, texts)


def _write_texts(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Write files below folder/tables, and return their paths."""
    paths = {folder / "tables" / name: text for name, text in texts.items()}
    for path, text in paths.items():
        write_atomic(path, text)
    return list(paths)
