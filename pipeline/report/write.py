"""The tables and pictures of a suite, into its results folder."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from pipeline.config import Suite
from pipeline.data.domains import load_unlabelled
from pipeline.data.image_files import ByName
from pipeline.report import (
    accuracy,
    contact_sheet,
    loss_curve,
    published,
    rank_diagram,
    stamp,
    statistics,
    statistics_text,
    tables,
    tsne,
)
from pipeline.stage import Progress
from pipeline.store import write_atomic

FORMATS = {".csv": tables.csv, ".md": tables.markdown, ".tex": tables.latex}
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
            written += _draw(picture, folder / "plots")
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
        written += _draw(picture, folder / "plots")
    return written


def list_pictures(suite: Suite, artifacts: Artifacts) -> list[Picture]:
    """The pictures that can be drawn from `artifacts`."""
    pictures = []
    if artifacts.base is not None:
        title = f"{suite.title}: images of the un-adapted base model"
        pictures.append(_sheet("contact_base", artifacts.base, artifacts.classes, title))
    for task, made in artifacts.tasks.items():
        name, shown = file_name(task), tables.arrow(task)
        pictures += _stage_pictures(name, shown, made, artifacts)
        pictures += _network_pictures(name, shown, made, artifacts.classes, suite)
    return pictures


def file_name(task: str) -> str:
    """What names of files call a task: MN-to-MM, or to-MM where all other domains are sources."""
    return task.replace("->", "-to-").removeprefix("-")


def _stage_pictures(name: str, shown: str, made: TaskArtifacts, artifacts: Artifacts) -> list[Picture]:
    """Of stages one and two: the losses, and what was made."""
    pictures = []
    if made.finetune is not None:
        title = f"{shown}: losses of fine-tuning"
        draw = partial(_as_png, loss_curve.draw, made.finetune / "losses.csv", title)
        pictures.append(Picture(f"loss_{name}", (made.finetune.name, title), (".png",), draw))
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


def _sheet(
    name: str, artifact: Path, classes: Sequence[str], title: str, sources: tuple[Path, str] | None = None
) -> Picture:
    """A contact sheet; `sources` says where the source images of adapted ones are: artifact and domain."""

    def draw() -> dict[str, bytes]:
        images = None
        if sources is not None:
            images = ByName(load_unlabelled(*sources, "train"), contact_sheet.ENLARGED_TO)
        return _as_png(contact_sheet.draw, artifact, classes, title, sources=images)

    beside = None if sources is None else (sources[0].name, sources[1])
    return Picture(name, (artifact.name, classes, title, beside), (".png",), draw)


def _as_png(draw: Callable[..., bytes], *args: object, **kwargs: object) -> dict[str, bytes]:
    return {".png": draw(*args, **kwargs)}


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
