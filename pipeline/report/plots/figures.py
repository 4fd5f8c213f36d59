"""List the figures of a suite that can be drawn from its records and artifacts."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from pipeline.config import Suite
from pipeline.report.artifacts import Artifacts
from pipeline.report.plots import accuracy_time, per_class, rank_diagram
from pipeline.report.plots.figure_cache import FigureSpec, file_name
from pipeline.report.plots.of_stages import contact_sheet_figure, stage_figures
from pipeline.report.plots.of_training import confusions, distances, network_figures
from pipeline.report.tables import accuracy, significance
from pipeline.report.tables.names import arrow, rule_name
from pipeline.report.training_records import CELL, wanted


def list_figures(suite: Suite, records: pd.DataFrame, artifacts: Artifacts) -> list[FigureSpec]:
    """Return the figures that `records` and `artifacts` suffice for."""
    figures = _record_figures(suite, records, artifacts)
    figures += _rank_figures(suite, records, list(artifacts.tasks))
    figures += distances(suite, artifacts)
    if artifacts.base is not None:
        title = f"{suite.title}: images of the un-adapted base model"
        figures.append(contact_sheet_figure("contact_base", artifacts.base, artifacts.classes, title))
    for task, made in artifacts.tasks.items():
        name, heading = file_name(task), arrow(task)
        figures += stage_figures(name, heading, made, artifacts)
        figures += network_figures(name, heading, made, artifacts.classes, suite)
        figures += confusions(name, heading, made, artifacts.classes, suite)
    return figures


def _record_figures(suite: Suite, records: pd.DataFrame, artifacts: Artifacts) -> list[FigureSpec]:
    """Figures of records under the first selection rule: accuracy and time, accuracy by class."""
    selection, tasks = suite.selections[0], list(artifacts.tasks)
    asked = records.merge(wanted(suite, tasks), on=CELL)
    asked = asked[(asked["selection"] == selection) & asked["accuracy"].notna()]
    rule, figures = rule_name(selection), []
    points = accuracy_time.points(accuracy.accuracy_table(records, suite, tasks, selection), asked)
    if len(points):
        title = f"Average accuracy against time ({rule})"
        draw = partial(accuracy_time.draw, points, title)
        figures.append(FigureSpec("accuracy_time", (points.to_csv(), title), (".png", ".pdf"), draw))
    for task in dict.fromkeys(asked["task"]):
        rows = asked[asked["task"] == task]
        title = f"{arrow(task)}: accuracy by class ({rule})"
        draw = partial(per_class.draw, rows, suite, artifacts.classes, title)
        parts = (rows.to_csv(), list(map(suite.label, suite.methods)), artifacts.classes, title)
        figures.append(FigureSpec(f"classes_{file_name(task)}", parts, (".png", ".pdf"), draw))
    return figures


def _rank_figures(suite: Suite, records: pd.DataFrame, tasks: Sequence[str]) -> list[FigureSpec]:
    """The rank diagram of each selection rule under which ranks can be tested."""
    figures = []
    for selection in suite.selections:
        found = significance.ranks(significance.grids(records, suite, tasks, selection))
        if found.critical is not None:
            title = f"{suite.name}: average ranks, {selection} checkpoint"
            draw = partial(rank_diagram.draw, found, title)
            figures.append(FigureSpec(f"ranks_{selection}", (found, title), (".png", ".pdf"), draw))
    return figures
