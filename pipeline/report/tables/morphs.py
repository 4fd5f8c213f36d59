"""The table of a suite of morphs: a row for each method, and for each kind its FID, PPL and PPL variation."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pipeline.config import MorphSuite
from pipeline.core.text import one_line
from pipeline.report.tables.formats import markdown_escape, pipe_table, safe_text

SCORES = {"FID": "FID", "PPL": "PPL", "PPL variation": "variation"}
"""The columns of the table, and their names in it."""

ALL_SCORES = ("PPL", "PPL variation", "FID", "KID", "psnr")


@dataclass(frozen=True)
class ScoreCell:
    """One score, None if it is missing, and whether it is the best of its column."""

    value: float | None
    best: bool = False

    @property
    def text(self) -> str:
        """The score as printed, to three digits."""
        return "–" if self.value is None else f"{self.value:.3g}"


@dataclass(frozen=True)
class MorphTable:
    """The scores of all methods: names of columns, and a row of cells for each method."""

    header: Sequence[str]
    rows: Sequence[tuple[str, Sequence[ScoreCell]]]


def wide(records: pd.DataFrame) -> pd.DataFrame:
    """Return the scores with methods down and (kind, score) across, in the order of `records`."""
    scores = records.pivot(index="method", columns="kind", values=list(SCORES)).swaplevel(axis=1)
    kinds, methods = records["kind"].unique(), records["method"].unique()
    return scores.reindex(index=methods, columns=pd.MultiIndex.from_product([kinds, list(SCORES)]))


def table(records: pd.DataFrame) -> MorphTable:
    """Return the table. The lowest score is the best; a PPL of 0 is not, because nothing changes there."""
    scores = wide(records)
    columns = [(str(kind), score) for kind in records["kind"].unique() for score in SCORES]
    best = {column: min((value for value in scores[column] if value > 0), default=None) for column in columns}
    rows = []
    for method in scores.index:
        values = {column: float(scores[column][method]) for column in columns}
        cells = [
            ScoreCell(None) if pd.isna(value) else ScoreCell(value, value == best[column])
            for column, value in values.items()
        ]
        rows.append((str(method), cells))
    return MorphTable([f"{kind}: {SCORES[score]}" for kind, score in columns], rows)


def markdown(records: pd.DataFrame, suite: MorphSuite) -> str:
    """Return a pipe table with its title above and its caption below, the best of a column in bold."""
    found = table(records)
    rows = [
        [markdown_escape(method), *(f"**{cell.text}**" if cell.best else cell.text for cell in cells)]
        for method, cells in found.rows
    ]
    lines = [f"### {markdown_escape(suite.title)}", "", *pipe_table(["Method", *found.header], rows)]
    return "\n".join([*lines, "", markdown_escape(caption(records, suite))]) + "\n"


def terminal(records: pd.DataFrame, suite: MorphSuite, width: int) -> Table:
    """Return the table for a terminal of `width` columns; if too wide, methods go across."""
    found = table(records)
    grid = [[Text("Method"), *map(safe_text, found.header)]]
    for method, cells in found.rows:
        grid.append([safe_text(method), *(Text(cell.text, "bold" if cell.best else "") for cell in cells)])
    upright, unbounded = _printed(suite, grid), Console(width=10_000)
    fits = Measurement.get(unbounded, unbounded.options, upright).maximum <= width
    return upright if fits else _printed(suite, [list(line) for line in zip(*grid, strict=True)])


def _printed(suite: MorphSuite, grid: list[list[Text]]) -> Table:
    """A table with the first line of `grid` as its header."""
    printed = Table(title=safe_text(one_line(suite.title), "bold"), box=SIMPLE_HEAD)
    for place, name in enumerate(grid[0]):
        printed.add_column(name, justify="right" if place else "left", overflow="fold")
    for line in grid[1:]:
        printed.add_row(*line)
    return printed


def all_scores(records: pd.DataFrame) -> list[list[str]]:
    """Return a line for each record: kind, method, all scores, and seconds of its morphs."""
    return [
        [
            f"{row['kind']}, {row['method']}",
            *("–" if pd.isna(row[name]) else f"{row[name]:.4g}" for name in ALL_SCORES),
            f"{row['seconds']:.0f}",
        ]
        for row in records.to_dict("records")
    ]


def caption(records: pd.DataFrame, suite: MorphSuite) -> str:
    """Describe what was measured, on how many morphs, and with which networks."""
    with_ends = records.dropna(subset="psnr")
    ends = ", ".join(
        f"{method} {psnr:.1f}" for method, psnr in zip(with_ends["method"], with_ends["psnr"], strict=True)
    )
    reconstruction = f" PSNR in dB of the ends of morphs between images: {ends}." if ends else ""
    return (
        f"{suite.pairs} morphs of {suite.frames} frames for each cell, on {suite.dataset} with "
        f"{suite.base_model.name}. FID compares all frames with all training images of the ends' classes and "
        f"domains, in features of {suite.features}. PPL is the sum of the distances between neighbouring "
        f"frames by {suite.distance}, averaged over morphs; variation is the standard deviation of these "
        "distances over their mean. –: no result yet, or no more frames than features. Lower is better; at a "
        f"PPL of 0 all frames are alike.{reconstruction}"
    )
