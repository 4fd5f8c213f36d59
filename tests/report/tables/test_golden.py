"""From a hand-written records file to every format: each number is computed again by the standard library."""

import csv
import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import product
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import pytest

from pipeline import config
from pipeline.report import records
from pipeline.report.page import build
from pipeline.report.page.run_info import RunInfo
from pipeline.report.trainings import write_accuracies, write_statistics
from tests.report.report_samples import CLASSES, make_suite

FILE = Path(__file__).parent / "golden_records.csv"
ROWS = {"none": "MCC", "base": "MCC + base", "terra": "MCC + Terra"}
"""Augmentations, and the rows of the tables that they stand for."""

Grid = dict[str, dict[str, list[float]]]


@pytest.fixture(scope="module")
def grid() -> Grid:
    """Accuracies by augmentation and task, of seeds 0 and 1."""
    found: Grid = {name: {} for name in ROWS}
    with FILE.open() as file:
        for line in csv.DictReader(file):
            found[line["augmentation"]].setdefault(line["task"], []).append(float(line["accuracy"]))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, grid: Grid) -> Path:
    """Tables and page of the file."""
    folder, tasks = tmp_path_factory.mktemp("golden"), list(grid["none"])
    suite = make_suite(name="golden", tasks=tasks, methods=["MCC"])
    found = records.read(FILE)
    write_accuracies(suite, tasks, CLASSES, found, folder)
    write_statistics(suite, tasks, found, folder)
    build.write_page(
        folder, RunInfo(suite=suite, card=config.read_card("digits"), tasks=tasks, file="golden"), found
    )
    return folder


def error(values: list[float]) -> float:
    return stdev(values) / sqrt(len(values))


def expected_line(grid: Grid, name: str, decimals: int) -> list[str]:
    """What a row shows: mean and error of each task and of the average, then the gain over the plain row."""
    seeds = [[values[seed] for values in grid[name].values()] for seed in (0, 1)]
    numbers = [number for values in grid[name].values() for number in (mean(values), error(values))]
    numbers += [mean(map(mean, seeds)), error(list(map(mean, seeds)))]
    if name != "none":
        numbers.append(mean(map(mean, grid[name].values())) - mean(map(mean, grid["none"].values())))
    return [f"{number:.{decimals}f}" for number in numbers]


def gains(grid: Grid, name: str, over: str) -> list[list[float]]:
    """Differences of each task, by seed."""
    return [
        [ours - theirs for ours, theirs in zip(grid[name][task], grid[over][task], strict=True)]
        for task in grid[name]
    ]


def mean_ranks(values: list[float]) -> list[float]:
    """Of each value, from 1 for the smallest; equal ones share the mean."""
    return [
        mean(place for place, other in enumerate(sorted(values), 1) if abs(other - value) < 1e-9)
        for value in values
    ]


def signed_rank_p(differences: list[float]) -> float:
    """The share of all patterns of signs whose rank sum is as far out, on either side."""
    sizes = mean_ranks([abs(value) for value in differences])
    seen = sum(size for size, value in zip(sizes, differences, strict=True) if value > 0)
    sums = [
        sum(s for s, up in zip(sizes, signs, strict=True) if up)
        for signs in product((0, 1), repeat=len(sizes))
    ]
    lower, upper = (
        mean(test for test in tests) for tests in zip(*((s <= seen, s >= seen) for s in sums), strict=True)
    )
    return min(1, 2 * min(lower, upper))


def bootstrap(differences: list[list[float]], resamples: int = 4_000) -> tuple[float, float]:
    """The middle 95 % of means over tasks drawn, and of each over seeds drawn."""
    draw = random.Random(1)
    means = sorted(
        mean(
            mean(draw.choices(seeds, k=len(seeds))) for seeds in draw.choices(differences, k=len(differences))
        )
        for _ in range(resamples)
    )
    return means[resamples // 40], means[-resamples // 40]


def average_ranks(grid: Grid) -> dict[str, float]:
    of_task = [mean_ranks([-mean(grid[name][task]) for name in ROWS]) for task in grid["none"]]
    return dict(zip(ROWS, map(mean, zip(*of_task, strict=True)), strict=True))


class Cells(HTMLParser):
    """The texts of a document's table cells, table by table, line by line."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.within = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.within = True

    def handle_endtag(self, tag: str) -> None:
        self.within &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.within:
            self.tables[-1][-1][-1] += data


def pipe_tables(text: str) -> list[list[list[str]]]:
    """The same of a Markdown text, without its escapes and emphasis."""
    plain = re.sub(r"\\(.)|\*\*|</?u>", r"\1", text)
    blocks = [block for block in plain.split("\n\n") if block.startswith("|")]
    lines = [[line.strip("| ").split(" | ") for line in block.splitlines()] for block in blocks]
    return [table[:1] + table[2:] for table in lines]


def latex_table(text: str) -> list[list[str]]:
    """The lines of a tabular that hold cells."""
    body = text.split("\\toprule")[1].split("\\bottomrule")[0]
    body = re.sub(r"\\(scriptsize|quad|midrule|textbf|underline|pm)\b|\{\}|[{}$]", " ", body)
    return [line.split("&") for line in body.split("\\\\") if "&" in line]


def lines_of(folder: Path, form: str) -> Iterator[list[str]]:
    """The lines of the accuracy table as a format has them, without the header."""
    text = (folder / "tables" / f"accuracy_last.{form}").read_text()
    if form == "md":
        yield from pipe_tables(text)[0][1:]
    elif form == "tex":
        yield from latex_table(text)[1:]
    else:
        yield from Cells(text).tables[0][1:]


@pytest.mark.parametrize("form", ["md", "tex", "html"])
def test_accuracies(folder, grid, form):
    lines = list(lines_of(folder, form))
    assert len(lines) == 3
    for line, name in zip(lines, ROWS, strict=True):
        numbers = re.findall(r"\d+\.\d", " ".join(line[1:]))
        assert numbers == expected_line(grid, name, 1)
    assert "+ Terra" in lines[2][0]


def test_accuracies_for_spreadsheets(folder, grid):
    with (folder / "tables" / "accuracy_last.csv").open() as file:
        lines = list(csv.reader(file))[1:]
    for line, name in zip(lines, ROWS, strict=True):
        gain = [line[20]] if line[20] else []
        assert line[3] == name
        assert line[4:20] + gain == expected_line(grid, name, 2)
        assert line[21:] == ["7", "14", "14"]


def test_accuracies_on_the_page(folder, grid):
    main = Cells((folder / build.FILE).read_text()).tables[0]
    assert [line[0] for line in main[1:]] == list(ROWS.values())
    for line, name in zip(main[1:], ROWS, strict=True):
        assert re.findall(r"\d+\.\d", " ".join(line[1:])) == expected_line(grid, name, 1)


@pytest.mark.parametrize("over", ["none", "base"])
def test_gains(folder, grid, over):
    """In the CSV to six figures; in Markdown and on the page as they are shown there."""
    differences = gains(grid, "terra", over)
    of_tasks = list(map(mean, differences))
    better, p = sum(value > 1e-9 for value in of_tasks), signed_rank_p(of_tasks)
    with (folder / "tables" / "statistics_last.csv").open() as file:
        found = {line["augmentation"]: line for line in csv.DictReader(file)}["terra"]
    exact = [float(found[f"gain over {over}{what}"]) for what in ("", " p", " better", " tasks", " pairs")]
    assert exact == pytest.approx([mean(of_tasks), p, better, 7, 14], rel=1e-5)
    interval = [float(found[f"gain over {over} {end}"]) for end in ("low", "high")]
    assert interval == pytest.approx(bootstrap(differences), abs=0.4)
    low, high = (f"{bound:.1f}" for bound in interval)
    shown = [
        "MCC + Terra",
        ROWS[over],
        f"+{mean(of_tasks):.1f}",
        f"{low} to {high}",
        f"{p:.2g}",
        f"{better} of 7",
        "14 of 14",
    ]
    text = (folder / "tables" / "statistics_last.md").read_text()
    sentence = (
        f"MCC + Terra gains {mean(of_tasks):.1f} points on average over {ROWS[over]} "
        f"(95 %: {low} to {high}; p = {p:.2g}), better on {better} of 7 tasks."
    )
    assert shown in pipe_tables(text)[0]
    assert sentence in text
    html = (folder / build.FILE).read_text()
    assert shown in Cells(html).tables[1]
    assert sentence in html


def test_ranks(folder, grid):
    ranks = average_ranks(grid)
    with (folder / "tables" / "statistics_last.csv").open() as file:
        for line in csv.DictReader(file):
            assert float(line["average rank"]) == pytest.approx(ranks[line["augmentation"]], rel=1e-5)
            # Demsar 2006, table 5: 2.343 for three rows.
            assert float(line["critical difference"]) == pytest.approx(
                2.343 * sqrt(3 * 4 / (6 * 7)), rel=1e-3
            )
    shown = [[ROWS[name], f"{rank:.2f}"] for name, rank in sorted(ranks.items(), key=lambda item: item[1])]
    assert pipe_tables((folder / "tables" / "statistics_last.md").read_text())[1][1:] == shown
    assert Cells((folder / build.FILE).read_text()).tables[2][1:] == shown
