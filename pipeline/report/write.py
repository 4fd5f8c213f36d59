"""The tables and pictures of a suite, into its results folder."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd

from pipeline.config import Suite
from pipeline.data.domains import load_unlabelled
from pipeline.report import (
    accuracy,
    accuracy_time,
    confusion,
    contact_sheet,
    distance,
    html,
    loss_curve,
    per_class,
    published,
    rank_diagram,
    stamp,
    statistics,
    statistics_text,
    tables,
    tsne,
)
from pipeline.report.records import CELL, wanted
from pipeline.stage import Progress
from pipeline.store import write_atomic

FORMATS = {".csv": tables.csv, ".md": tables.markdown, ".tex": tables.latex, ".html": html.accuracy_html}
PUBLISHED_FORMATS = {".csv": published.csv, ".md": published.markdown, ".tex": published.latex}
STATISTICS_FORMATS = {".csv": statistics_text.csv, ".md": statistics_text.markdown}


@dataclass(frozen=True)
class TaskArtifacts:
    """The artifacts of one task, None where there is none (yet). trained: by (method, augmentation, seed)."""

    sources: tuple[str, ...]
    target: str
    finetune: Path | None = None
    adapted: Path | None = None
    generated: Path | None = None
    trained: Mapping[tuple[str, str, int], Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifacts:
    """What the pictures of a suite are drawn from. classes: names by label. tasks: in the order of the suite.

    The folder of an artifact is named by its key: the same name means the same content.
    """

    classes: Sequence[str]
    data: Path | None
    base: Path | None
    tasks: Mapping[str, TaskArtifacts]


@dataclass(frozen=True)
class Picture:
    """One picture to be drawn. `draw` gives bytes by suffix, .png among them, by `made_of` alone."""

    name: str
    made_of: tuple[object, ...]
    suffixes: tuple[str, ...]
    draw: Callable[[], dict[str, bytes]]


def write_report(
    suite: Suite, records: pd.DataFrame, artifacts: Artifacts, folder: Path, progress: Progress | None = None
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
    figures, written = published.read_all(published.folder()), []
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
        found = statistics.statistics(records, suite, tasks, selection)
        for suffix, writer in STATISTICS_FORMATS.items():
            written.append(folder / "tables" / f"statistics_{selection}{suffix}")
            write_atomic(written[-1], writer(found))
    return written


def write_plots(
    suite: Suite, records: pd.DataFrame, artifacts: Artifacts, folder: Path, progress: Progress | None = None
) -> list[Path]:
    """folder/plots/*: every picture whose records or artifacts are there; one drawn before from the same is kept."""
    pictures = list_pictures(suite, records, artifacts)
    written = []
    for done, picture in enumerate(pictures):
        if progress is not None:
            progress(done, len(pictures), picture.name)
        written += _draw(picture, folder / "plots")
    return written


def list_pictures(suite: Suite, records: pd.DataFrame, artifacts: Artifacts) -> list[Picture]:
    """The pictures that can be drawn from `records` and `artifacts`."""
    pictures = _record_pictures(suite, records, artifacts)
    pictures += _rank_pictures(suite, records, list(artifacts.tasks))
    pictures += _distances(suite, artifacts)
    if artifacts.base is not None:
        title = f"{suite.title}: images of the un-adapted base model"
        pictures.append(_sheet("contact_base", artifacts.base, artifacts.classes, title))
    for task, made in artifacts.tasks.items():
        name, shown = file_name(task), tables.arrow(task)
        pictures += _stage_pictures(name, shown, made, artifacts)
        pictures += _network_pictures(name, shown, made, artifacts.classes, suite)
        pictures += _confusions(name, shown, made, artifacts.classes, suite)
    return pictures


def file_name(task: str) -> str:
    """What names of files call a task: MN-to-MM, or to-MM where all other domains are sources."""
    return task.replace("->", "-to-").removeprefix("-")


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
        found = statistics.ranks(statistics.grids(records, suite, tasks, selection))
        if found.critical is not None:
            title = f"{suite.name}: average ranks, {selection} checkpoint"
            draw = partial(rank_diagram.draw, found, title)
            pictures.append(Picture(f"ranks_{selection}", (found, title), (".png", ".pdf"), draw))
    return pictures


def _distances(suite: Suite, artifacts: Artifacts) -> list[Picture]:
    """The A-distances that the networks of each row's first seed see."""
    networks = []
    for task, made in artifacts.tasks.items():
        for method, augmentation in product(map(suite.label, suite.methods), suite.augmentations):
            trained = _first_trained(suite, made, method, augmentation)
            if trained is not None:
                networks.append(distance.Network(task, method, augmentation, trained[1] / "features.npz"))
    if not networks:
        return []
    title = "How far from the target: before and after made images"
    parts = (title, [(net.task, net.method, net.augmentation, net.features.parent.name) for net in networks])
    draw = partial(distance.draw, networks, title)
    return [Picture("distance", parts, (".png", ".pdf", ".csv"), draw)]


def _first_trained(
    suite: Suite, made: TaskArtifacts, method: str, augmentation: str
) -> tuple[int, Path] | None:
    """The first seed whose training is there, and its artifact."""
    found = ((seed, made.trained.get((method, augmentation, seed))) for seed in suite.seeds)
    return next(((seed, folder) for seed, folder in found if folder is not None), None)


def _stage_pictures(name: str, shown: str, made: TaskArtifacts, artifacts: Artifacts) -> list[Picture]:
    """Of stages one and two: the losses, and what was made."""
    pictures = []
    if made.finetune is not None:
        title = f"{shown}: losses of fine-tuning"
        draw = partial(loss_curve.draw, made.finetune / "losses.csv", title)
        pictures.append(Picture(f"loss_{name}", (made.finetune.name, title), (".png", ".pdf"), draw))
    if made.adapted is not None and artifacts.data is not None:
        title = f"{shown}: source images, and adapted to the target"
        sources = (artifacts.data, made.sources[0])
        pictures.append(_sheet(f"contact_{name}_adapted", made.adapted, artifacts.classes, title, sources))
    if made.generated is not None:
        title = f"{shown}: generated target images"
        pictures.append(_sheet(f"contact_{name}_generated", made.generated, artifacts.classes, title))
    return pictures


def _network_pictures(
    name: str, shown: str, made: TaskArtifacts, classes: Sequence[str], suite: Suite
) -> list[Picture]:
    """Of stage three: for each method, the features of the network that saw most, at the first seed."""
    augmentation = max(suite.augmentations, key=list(accuracy.MADE).index)
    added = f" + {accuracy.MADE[augmentation]}" if augmentation != "none" else ""
    pictures = []
    for method in map(suite.label, suite.methods):
        trained = _first_trained(suite, made, method, augmentation)
        if trained is None:
            continue
        seed, artifact = trained
        title = f"{shown}: {method}{added}, seed {seed}"
        domains = (", ".join(made.sources), made.target)
        draw = partial(tsne.draw, artifact / "features.npz", classes, domains, title)
        parts = (artifact.name, classes, domains, title)
        file = _slug(f"tsne_{name}_{method}_{augmentation}")
        pictures.append(Picture(file, parts, (".png", ".pdf"), draw))
    return pictures


def _confusions(
    name: str, shown: str, made: TaskArtifacts, classes: Sequence[str], suite: Suite
) -> list[Picture]:
    """Of stage three: for each method its confusions under the suite's first selection rule, over all seeds there are.

    Trainings from before there was predictions.npz have none.
    """
    selection, pictures = suite.selections[0], []
    for method in map(suite.label, suite.methods):
        found = {}
        for augmentation in sorted(suite.augmentations, key=list(accuracy.MADE).index):
            trained = (made.trained.get((method, augmentation, seed)) for seed in suite.seeds)
            files = [folder / "predictions.npz" for folder in trained if folder is not None]
            found[augmentation] = [file for file in files if file.exists()]
        found = {augmentation: files for augmentation, files in found.items() if files}
        if found:
            title = f"{shown}: {method}, confusions ({accuracy.short_rule(selection)})"
            parts = (
                {key: [file.parent.name for file in files] for key, files in found.items()},
                classes,
                title,
            )
            draw = partial(confusion.draw, found, selection, classes, title)
            file = _slug(f"confusion_{name}_{method}")
            pictures.append(Picture(file, parts, (".png", ".pdf"), draw))
    return pictures


def _slug(name: str) -> str:
    """A name of a file without what shells and addresses take for something else."""
    return re.sub(r"[^\w.+=-]+", "-", name)


def _sheet(
    name: str, artifact: Path, classes: Sequence[str], title: str, sources: tuple[Path, str] | None = None
) -> Picture:
    """A contact sheet; `sources` says where the source images of adapted ones are: artifact and domain."""

    def draw() -> dict[str, bytes]:
        images = None
        if sources is not None:
            domain = load_unlabelled(*sources, "train")
            images = dict(zip(domain.names, domain.images, strict=True))
        return contact_sheet.draw(artifact, classes, title, sources=images)

    beside = None if sources is None else (sources[0].name, sources[1])
    return Picture(name, (artifact.name, classes, title, beside), (".png", ".pdf"), draw)


def _draw(picture: Picture, folder: Path) -> list[Path]:
    """Draw `picture` unless it is there as it would be drawn; the PNG last, for it bears the stamp."""
    paths = {suffix: folder / f"{picture.name}{suffix}" for suffix in picture.suffixes}
    mark = stamp.stamp(*picture.made_of)
    if not (stamp.is_current(paths[".png"], mark) and all(path.exists() for path in paths.values())):
        drawn = picture.draw()
        drawn[".png"] = stamp.stamped(drawn[".png"], mark)
        for suffix in sorted(drawn):  # .pdf before .png
            write_atomic(paths[suffix], drawn[suffix])
    return list(paths.values())
