"""The tables and pictures of a suite, into its results folder."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from pipeline.config import Suite
from pipeline.report import (
    accuracy,
    published,
    rank_diagram,
    statistics,
    statistics_text,
    tables,
    tsne,
)
from pipeline.report.artifacts import Artifacts, TaskArtifacts
from pipeline.report.picture import Picture, draw_picture, file_name
from pipeline.report.stage_pictures import sheet, stage_pictures
from pipeline.stage import Progress
from pipeline.store import write_atomic

FORMATS = {".csv": tables.csv, ".md": tables.markdown, ".tex": tables.latex}
PUBLISHED_FORMATS = {".csv": published.csv, ".md": published.markdown, ".tex": published.latex}
STATISTICS_FORMATS = {".csv": statistics_text.csv, ".md": statistics_text.markdown}


def write_report(
    suite: Suite, records: pd.DataFrame, artifacts: Artifacts, folder: Path, progress: Progress | None = None
) -> list[Path]:
    """Tables and pictures under `folder`; the paths of all, written now or found unchanged."""
    tasks = list(artifacts.tasks)
    written = write_tables(suite, tasks, artifacts.classes, records, folder)
    written += write_published(suite, tasks, records, folder)
    written += write_statistics(suite, tasks, records, folder)
    return written + write_plots(suite, artifacts, folder, progress)


def write_tables(
    suite: Suite, tasks: Sequence[str], classes: Sequence[str], records: pd.DataFrame, folder: Path
) -> list[Path]:
    """folder/tables/accuracy_SELECTION.{csv,md,tex} for every selection rule of the suite.

    Where the suite's metric is the mean of classes, also classes_TASK_SELECTION.{csv,md,tex} for every task.
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
    figures, written = published.read_all(published.folder()), []
    for selection in suite.selections:
        table = published.published_table(records, suite, tasks, selection, figures)
        for suffix, writer in PUBLISHED_FORMATS.items() if table else ():
            written.append(folder / "tables" / f"published_{selection}{suffix}")
            write_atomic(written[-1], writer(table))
    return written


def write_statistics(suite: Suite, tasks: Sequence[str], records: pd.DataFrame, folder: Path) -> list[Path]:
    """folder/tables/statistics_SELECTION.{csv,md} and, where ranks can be tested, folder/plots/ranks_SELECTION.{png,pdf}."""
    written = []
    for selection in suite.selections:
        found = statistics.statistics(records, suite, tasks, selection)
        for suffix, writer in STATISTICS_FORMATS.items():
            written.append(folder / "tables" / f"statistics_{selection}{suffix}")
            write_atomic(written[-1], writer(found))
        if found.ranks.critical is not None:
            title = f"{suite.name}: average ranks, {selection} checkpoint"
            draw = partial(rank_diagram.draw, found.ranks, title)
            picture = Picture(f"ranks_{selection}", (found.ranks, title), (".png", ".pdf"), draw)
            written += draw_picture(picture, folder / "plots")
    return written


def write_plots(
    suite: Suite, artifacts: Artifacts, folder: Path, progress: Progress | None = None
) -> list[Path]:
    """folder/plots/*: every picture whose artifacts are there; one drawn before from the same is kept."""
    pictures = list_pictures(suite, artifacts)
    written = []
    for done, picture in enumerate(pictures):
        if progress is not None:
            progress(done, len(pictures), picture.name)
        written += draw_picture(picture, folder / "plots")
    return written


def list_pictures(suite: Suite, artifacts: Artifacts) -> list[Picture]:
    """The pictures that can be drawn from `artifacts`."""
    pictures = []
    if artifacts.base is not None:
        title = f"{suite.title}: images of the un-adapted base model"
        pictures.append(sheet("contact_base", artifacts.base, artifacts.classes, title))
    for task, made in artifacts.tasks.items():
        name, shown = file_name(task), tables.arrow(task)
        pictures += stage_pictures(name, shown, made, artifacts)
        pictures += _network_pictures(name, shown, made, artifacts.classes, suite)
    return pictures


def _network_pictures(
    name: str, shown: str, made: TaskArtifacts, classes: Sequence[str], suite: Suite
) -> list[Picture]:
    """Of stage three: for each method, the features of the network that saw most, at the first seed."""
    most = [name for name in suite.augmentations if suite.adapter_of(name)] or suite.augmentations[-1:]
    augmentation = most[0]
    made_by = accuracy.MADE.get(augmentation, augmentation)
    added = f" + {made_by}" if made_by else ""
    pictures = []
    for method in map(suite.label, suite.methods):
        seed = next((seed for seed in suite.seeds if (method, augmentation, seed) in made.trained), None)
        if seed is None:
            continue
        artifact, title = made.trained[method, augmentation, seed], f"{shown}: {method}{added}, seed {seed}"
        domains = (", ".join(made.sources), made.target)
        draw = partial(tsne.draw, artifact / "features.npz", classes, domains, title)
        parts = (artifact.name, classes, domains, title)
        file = re.sub(r"[^\w.+=-]+", "-", f"tsne_{name}_{method}_{augmentation}")
        pictures.append(Picture(file, parts, (".png", ".pdf"), draw))
    return pictures
