"""Write the tables and figures of a suite into its results folder."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.stage import Progress
from pipeline.report.plots.figure_cache import draw_if_changed
from pipeline.report.suite_report import report_for


def write_report(
    suite: Any, records: pd.DataFrame, artifacts: Any, folder: Path, progress: Progress
) -> list[Path]:
    """Write tables and figures.

    Args:
        suite: The suite.
        records: Its records.
        artifacts: Its artifacts, as its `SuiteReport` finds them.
        folder: The results folder.
        progress: Called before each figure.

    Returns:
        The paths of all files, those that were up to date among them.
    """
    written = report_for(suite.setting).write_tables(suite, records, artifacts, folder)
    return written + write_figures(suite, records, artifacts, folder, progress)


def write_figures(
    suite: Any, records: pd.DataFrame, artifacts: Any, folder: Path, progress: Progress
) -> list[Path]:
    """Draw the figures whose inputs changed into folder/plots; return the paths of all figures."""
    figures = report_for(suite.setting).figures(suite, records, artifacts)
    written = []
    for done, figure in enumerate(figures):
        progress(done, len(figures), figure.name)
        written += draw_if_changed(figure, folder / "plots")
    return written
