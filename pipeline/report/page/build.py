"""index.html: a suite's tables, pictures, settings and times as one file that needs nothing else.

Drawn from a results folder alone: its records, run.json and plots/.
"""

import base64
import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from PIL import Image

from pipeline.config import Suite
from pipeline.core.store import write_atomic
from pipeline.report import fingerprint
from pipeline.report.manifest import PAGE
from pipeline.report.page import html_table, reproduce_command
from pipeline.report.page.run_info import About
from pipeline.report.tables import accuracy, published, significance, significance_text

FILE = PAGE

WIDEST = 1280
"""Pixels: wider pictures are made smaller in the page; the files beside it stay as they are."""
LARGEST = 2_500_000
"""Bytes of all pictures in the page: above it they are made smaller still, but not below half, so that it can be sent by mail."""
QUALITY = 75
"""Of WebP, from 0 to 100: a contact sheet takes a quarter of what its PNG does, and looks the same."""

OVERVIEW = {
    "accuracy_time": (
        "Accuracy against time",
        "A point is a row of the table; the line joins those of one method.",
    ),
    "ranks": ("Average ranks", "1 is best; a bar joins rows that the test does not tell apart."),
    "distance": (
        "A-distance",
        "How well a linear classifier tells images from the target's by the network's features: 2 always, 0 not at all.",
    ),
}
"""Pictures of the whole run, which stand in one group: by how the name of a file begins, with a name and what is to be seen."""

GROUPS = {
    "tsne": (
        "t-SNE",
        "Features of the trained network, four classes. Real images are filled marks, made ones hollow.",
    ),
    "contact": ("Images", "Images of the made sets by class; adapted ones are beneath their sources."),
    "flow": ("Domain flow", "One source image a line, rendered at every t."),
    "times": (
        "Predicted t",
        "Where each image lies between the domains, and the points at which new domains are made.",
    ),
    "classes": ("Accuracy by class", "Mean over seeds; lines are standard errors."),
    "confusion": (
        "Confusion matrices",
        "Rows are true classes, columns what the network says of their test images, in percent.",
    ),
    "loss": ("Losses of fine-tuning", "Each step faint, the running mean bold."),
}
"""How the other pictures are grouped, in order: as above, with a heading."""

OTHER = ("Other pictures", "")


@dataclass(frozen=True)
class Shown:
    """A picture in the page: what it is called, its bytes as a data URI, its size, and its files beside the page.

    about: what is to be seen, where the pictures of its group differ in that.
    """

    name: str
    about: str
    source: str
    width: int
    height: int
    files: dict[str, str]


@dataclass(frozen=True)
class Plain:
    """A table of words: the names of its columns, and its lines, which begin with their own name."""

    header: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Rule:
    """What the page shows under one selection rule; `words` say which that is."""

    name: str
    words: str
    tables: Sequence[accuracy.AccuracyTable]
    sentences: Sequence[str]
    gains: Plain
    ranks: Plain
    about_ranks: str
    published: Plain | None
    about_published: str | None


@dataclass(frozen=True)
class Group:
    """Pictures of one kind."""

    heading: str
    about: str
    pictures: list[Shown]


def write(folder: Path, about: About, records: pd.DataFrame) -> Path:
    """folder/index.html, unless it is there as it would be written."""
    path, pictures = folder / FILE, sorted((folder / "plots").glob("*.png"))
    mark = _mark(about, records, pictures)
    if not _bears(path, mark):
        write_atomic(path, render(about, records, pictures, mark))
    return path


def render(about: About, records: pd.DataFrame, pictures: Sequence[Path], mark: str = "") -> str:
    """The page. pictures: PNG files in the folder plots/ beside it."""
    suite = about.suite
    figures = published.read_all(published.files())
    rules = [_rule(about, records, figures, name) for name in suite.selections]
    return (
        html_table.surroundings()
        .get_template("page.html.j2")
        .render(
            mark=mark,
            about=about,
            suite=suite,
            rules=rules,
            how=significance_text.HOW,
            best=_best(rules[0].tables[0]),
            groups=_fitting(pictures),
            versions=sorted(records["version"].unique()),
            libraries=_libraries(records),
            trainings=records.drop_duplicates("key"),
            failed=_failed(records),
            settings=yaml.safe_dump(
                suite.model_dump(mode="json", exclude_unset=True),
                sort_keys=False,
                width=100,
                allow_unicode=True,
            ),
            commands=_commands(about),
            whole=f"{reproduce_command.PROGRAM} run {about.file}",
            spell=spell,
        )
    )


def spell(seconds: float) -> str:
    """'2 h 05 min', '4 min 10 s', '12 s'."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _failed(records: pd.DataFrame) -> list[tuple[str, str]]:
    """The trainings that failed, each with its reason."""
    there = records[records["status"] == "failed"].drop_duplicates("key")
    return [
        (
            f"{row.task}, {significance_text.row_name(row.method, row.augmentation)}, seed {row.seed}",
            row.reason,
        )
        for row in there.itertuples()
    ]


def _mark(about: About, records: pd.DataFrame, pictures: Sequence[Path]) -> str:
    """A hash of all that the page is made of."""
    names = ("page.html.j2", "tables.html.j2", "page.css", "page.js")
    parts = [(html_table.PARTS / name).read_bytes() for name in names]
    parts += [path.read_bytes() for path in published.files()]
    drawn = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in pictures]
    return fingerprint.stamp(parts, drawn, about.model_dump_json(), records.to_csv())


def _bears(path: Path, mark: str) -> bool:
    """Whether the page at `path` is there and bears `mark`, which stands near its beginning."""
    try:
        with path.open("rb") as file:
            return mark.encode() in file.read(1000)
    except FileNotFoundError:
        return False


def _rule(about: About, records: pd.DataFrame, figures: pd.DataFrame, selection: str) -> Rule:
    """All tables under one selection rule; where the mean of classes counts, one of the classes for each task."""
    suite, tasks = about.suite, about.tasks
    found = significance.statistics(records, suite, tasks, selection)
    beside = published.published_table(records, suite, tasks, selection, figures)
    return Rule(
        name=selection,
        words=accuracy.RULES[selection],
        tables=[accuracy.accuracy_table(records, suite, tasks, selection)]
        + [
            accuracy.class_table(records, suite, task, about.card.classes, selection)
            for task in (tasks if suite.metric == "class_mean" else [])
        ],
        sentences=significance_text.sentences(found),
        gains=Plain(significance_text.GAIN_HEADER, list(map(significance_text.gain_cells, found.gains))),
        ranks=Plain(significance_text.RANK_HEADER, significance_text.rank_cells(found.ranks)),
        about_ranks=significance_text.ranks_caption(found.ranks),
        published=None if beside is None else Plain(published.header(beside), published.lines(beside)),
        about_published=None if beside is None else beside.caption,
    )


def _best(table: accuracy.AccuracyTable) -> accuracy.Row | None:
    """The first row with the best average, if there are several to compare."""
    return next((row for row in table.rows if row.average.place == 1), None)


def _libraries(records: pd.DataFrame) -> dict[str, list[str]]:
    """The methods whose losses are from a library, by its name and version."""
    named = records[records["library"] != ""]
    return {name: list(rows["method"].unique()) for name, rows in named.groupby("library")}


def _commands(about: About) -> list[tuple[str, str]]:
    """The label of each row of the main table, and the command that makes it again."""
    suite: Suite = about.suite
    return [
        (
            f"{method} + {accuracy.shown(augmentation)}" if augmentation != "none" else method,
            reproduce_command.command(suite, about.file, method, augmentation, about.plugins),
        )
        for method in map(suite.label, suite.methods)
        for augmentation in sorted(suite.augmentations, key=lambda name: name != "none")
    ]


def _fitting(pictures: Sequence[Path]) -> list[Group]:
    """The pictures as large as they may be for all of them together to have LARGEST bytes."""
    groups = _groups(pictures)
    size = sum(len(picture.source) for group in groups for picture in group.pictures)
    # Bytes fall more slowly than pixels: about as the side to the power 1.5.
    return groups if size <= LARGEST else _groups(pictures, max(0.5, (LARGEST / size) ** (1 / 1.5)))


def _groups(pictures: Sequence[Path], scale: float = 1.0) -> list[Group]:
    """The pictures, by kind; a kind without any is left out."""
    by_kind: dict[str, list[Path]] = {kind: [] for kind in [*OVERVIEW, *GROUPS, ""]}
    for path in pictures:
        kinds = (kind for kind in by_kind if kind and f"{path.stem}_".startswith(f"{kind}_"))
        by_kind[next(kinds, "")].append(path)
    with ThreadPoolExecutor() as pool:  # Pillow's work is done beside Python's
        overview = [
            pool.submit(_shown, path, kind, scale, *OVERVIEW[kind])
            for kind in OVERVIEW
            for path in by_kind[kind]
        ]
        others = [
            (heading, about, [pool.submit(_shown, path, kind, scale, heading) for path in by_kind[kind]])
            for kind, (heading, about) in [*GROUPS.items(), ("", OTHER)]
        ]
    groups = [
        Group(heading, about, [picture.result() for picture in shown])
        for heading, about, shown in [("Overview", "", overview), *others]
    ]
    return [group for group in groups if group.pictures]


def _shown(path: Path, kind: str, scale: float, heading: str, about: str = "") -> Shown:
    """A picture made small enough for a page; its files are named as seen from the page."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    widest = round(scale * min(WIDEST, small.width))
    small.thumbnail((widest, 4 * WIDEST))
    file = io.BytesIO()
    small.save(file, format="WEBP", quality=QUALITY, method=2)
    uri = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
    beside = sorted(path.parent.glob(f"{path.stem}.*"))
    files = {other.suffix[1:].upper(): f"{path.parent.name}/{other.name}" for other in beside}
    rest = path.stem.removeprefix(kind).strip("_").removeprefix("to-").replace("-to-", "→").replace("_", " ")
    return Shown(f"{heading}: {rest}" if rest else heading, about, uri, *small.size, files)
