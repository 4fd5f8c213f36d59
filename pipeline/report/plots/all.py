"""Every picture of a suite that can be drawn from its records and artifacts."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from pipeline.config import Suite
from pipeline.report.artifacts import Artifacts
from pipeline.report.plots import accuracy_time, rank_diagram
from pipeline.report.plots.figure_cache import Picture, file_name
from pipeline.report.plots.of_stages import sheet, stage_pictures
from pipeline.report.plots.of_training import confusions, distances, network_pictures
from pipeline.report.records import CELL, wanted
from pipeline.report.tables import accuracy, per_class, significance
from pipeline.report.tables import write as tables


def list_pictures(suite: Suite, records: pd.DataFrame, artifacts: Artifacts) -> list[Picture]:
    """The pictures that can be drawn from `records` and `artifacts`."""
    pictures = _record_pictures(suite, records, artifacts)
    pictures += _rank_pictures(suite, records, list(artifacts.tasks))
    pictures += distances(suite, artifacts)
    if artifacts.base is not None:
        title = f"{suite.title}: images of the un-adapted base model"
        pictures.append(sheet("contact_base", artifacts.base, artifacts.classes, title))
    for task, made in artifacts.tasks.items():
        name, shown = file_name(task), tables.arrow(task)
        pictures += stage_pictures(name, shown, made, artifacts)
        pictures += network_pictures(name, shown, made, artifacts.classes, suite)
        pictures += confusions(name, shown, made, artifacts.classes, suite)
    return pictures


def _record_pictures(suite: Suite, records: pd.DataFrame, artifacts: Artifacts) -> list[Picture]:
    """What records alone show, under the suite's first selection rule: accuracy and time, accuracy by class."""
    selection, tasks = suite.selections[0], list(artifacts.tasks)
    asked = records.merge(wanted(suite, tasks), on=CELL)
    asked = asked[(asked["selection"] == selection) & asked["accuracy"].notna()]
    rule, pictures = accuracy.short_rule(selection), []
    points = accuracy_time.points(accuracy.accuracy_table(records, suite, tasks, selection), asked)
    if len(points):
        title = f"Average accuracy against time ({rule})"
        draw = partial(accuracy_time.draw, points, title)
        pictures.append(Picture("accuracy_time", (points.to_csv(), title), (".png", ".pdf"), draw))
    for task, rows in asked.groupby("task", sort=False):
        title = f"{tables.arrow(task)}: accuracy by class ({rule})"
        draw = partial(per_class.draw, rows, suite, artifacts.classes, title)
        parts = (rows.to_csv(), list(map(suite.label, suite.methods)), artifacts.classes, title)
        pictures.append(Picture(f"classes_{file_name(task)}", parts, (".png", ".pdf"), draw))
    return pictures


def _rank_pictures(suite: Suite, records: pd.DataFrame, tasks: Sequence[str]) -> list[Picture]:
    """The ranks of all rows under each selection rule where they can be tested."""
    pictures = []
    for selection in suite.selections:
        found = significance.ranks(significance.grids(records, suite, tasks, selection))
        if found.critical is not None:
            title = f"{suite.name}: average ranks, {selection} checkpoint"
            draw = partial(rank_diagram.draw, found, title)
            pictures.append(Picture(f"ranks_{selection}", (found, title), (".png", ".pdf"), draw))
    return pictures
