"""The tables and pictures of a suite, into its results folder."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.config import Suite
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.report.artifacts import Artifacts
from pipeline.report.page import html_table
from pipeline.report.plots.all import list_pictures
from pipeline.report.plots.figure_cache import draw_picture
from pipeline.report.tables import accuracy, published, significance, significance_text
from pipeline.report.tables import write as tables

FORMATS = {
    ".csv": tables.csv,
    ".md": tables.markdown,
    ".tex": tables.latex,
    ".html": html_table.accuracy_html,
}
PUBLISHED_FORMATS = {".csv": published.csv, ".md": published.markdown, ".tex": published.latex}
STATISTICS_FORMATS = {".csv": significance_text.csv, ".md": significance_text.markdown}


def write_report(
    suite: Suite, records: pd.DataFrame, artifacts: Artifacts, folder: Path, progress: Progress
) -> list[Path]:
    """Tables and pictures under `folder`; the paths of all, written now or found unchanged."""
    tasks = list(artifacts.tasks)
    written = write_tables(suite, tasks, artifacts.classes, records, folder)
    written += write_published(suite, tasks, records, folder)
    written += write_statistics(suite, tasks, records, folder)
    return written + write_plots(suite, records, artifacts, folder, progress)


def write_tables(
    suite: Suite, tasks: Sequence[str], classes: Sequence[str], records: pd.DataFrame, folder: Path
) -> list[Path]:
    """folder/tables/accuracy_SELECTION.{csv,md,tex,html} for every selection rule of the suite.

    Where the suite's metric is the mean of classes, also classes_TASK_SELECTION.{csv,md,tex,html} for every task.
    """
    made = {}
    for selection in suite.selections:
        made[f"accuracy_{selection}"] = accuracy.accuracy_table(records, suite, tasks, selection)
        for task in tasks if suite.metric == "class_mean" else []:
            name = f"classes_{task.replace('->', '-to-')}_{selection}"
            made[name] = accuracy.class_table(records, suite, task, classes, selection)
    written = []
    for name, table in made.items():
        for suffix, writer in FORMATS.items():
            written.append(folder / "tables" / f"{name}{suffix}")
            write_atomic(written[-1], writer(table))
    return written


def write_published(suite: Suite, tasks: Sequence[str], records: pd.DataFrame, folder: Path) -> list[Path]:
    """folder/tables/published_SELECTION.{csv,md,tex} where a row of the suite has a published counterpart."""
    figures, written = published.read_all(published.files()), []
    for selection in suite.selections:
        table = published.published_table(records, suite, tasks, selection, figures)
        for suffix, writer in PUBLISHED_FORMATS.items() if table else ():
            written.append(folder / "tables" / f"published_{selection}{suffix}")
            write_atomic(written[-1], writer(table))
    return written


def write_statistics(suite: Suite, tasks: Sequence[str], records: pd.DataFrame, folder: Path) -> list[Path]:
    """folder/tables/statistics_SELECTION.{csv,md}."""
    written = []
    for selection in suite.selections:
        found = significance.statistics(records, suite, tasks, selection)
        for suffix, writer in STATISTICS_FORMATS.items():
            written.append(folder / "tables" / f"statistics_{selection}{suffix}")
            write_atomic(written[-1], writer(found))
    return written


def write_plots(
    suite: Suite, records: pd.DataFrame, artifacts: Artifacts, folder: Path, progress: Progress
) -> list[Path]:
    """folder/plots/*: every picture whose records or artifacts are there; one drawn before from the same is kept."""
    pictures = list_pictures(suite, records, artifacts)
    written = []
    for done, picture in enumerate(pictures):
        progress(done, len(pictures), picture.name)
        written += draw_picture(picture, folder / "plots")
    return written
