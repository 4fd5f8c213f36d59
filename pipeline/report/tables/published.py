"""Compare a suite's accuracies with published figures: ours, theirs, and the difference."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from pipeline.config import Suite
from pipeline.report.tables.accuracy import AccuracyTable, Row, TableCell, accuracy_table
from pipeline.report.tables.csv_text import to_csv
from pipeline.report.tables.formats import latex_escape, latex_table, markdown_escape, pipe_table
from pipeline.report.tables.names import RULE_NAMES, arrow, row_name, signed

SAME_RULE = {
    "training-domain validation set": "source",
    "test-domain validation set (oracle)": "oracle",
}
"""What papers call the selection rules of this benchmark. Any other name stands for itself."""

AVERAGE, OVERALL = "avg", "overall"
"""The tasks that stand for a mean, and for the accuracy over all images where that mean is one over classes.
"""


@dataclass(frozen=True)
class Pair:
    """One column of a comparison: our cell and the published figure in percent. Either may be missing."""

    ours: TableCell
    theirs: float | None

    @property
    def difference(self) -> float | None:
        """Ours minus theirs, in points."""
        return None if self.ours.mean is None or self.theirs is None else self.ours.mean - self.theirs


@dataclass(frozen=True)
class Comparison:
    """One row of ours beside the figures of one source.

    Attributes:
        method: The method's label.
        augmentation: The augmentation.
        source: Where the published figures are from.
        pairs: The columns of the table, then the average.
        averaged: The number of columns that both averages are over.
    """

    method: str
    augmentation: str
    source: str
    pairs: tuple[Pair, ...]
    averaged: int


@dataclass(frozen=True)
class PublishedTable:
    """The rows of an accuracy table that have a published counterpart."""

    table: AccuracyTable
    comparisons: tuple[Comparison, ...]

    @property
    def sources(self) -> list[str]:
        """The sources in the order of their first use, which numbers them."""
        return list(dict.fromkeys(comparison.source for comparison in self.comparisons))

    @property
    def caption(self) -> str:
        """The caption: what the numbers are, and the list of sources."""
        listed = "; ".join(f"[{number}] {source}" for number, source in enumerate(self.sources, start=1))
        seeds, rule = self.table.seeds, RULE_NAMES.get(self.table.selection, self.table.selection)
        number = f"mean ± standard error over {seeds} seeds" if seeds > 1 else "one seed"
        fewer = any(pair.ours.fewer_seeds for comparison in self.comparisons for pair in comparison.pairs)
        return (
            f"Ours (test accuracy in percent on {self.table.dataset}, {number}; checkpoint: {rule}), the "
            "published figure, and ours minus theirs in points. –: no figure"
            f"{'; †: fewer seeds' * fewer}. Averages are over the tasks that both have, and say how many "
            "where these are not all. Backbones are the same by name, whatever their weights. "
            f"Published: {listed}."
        )


def published_table(
    records: pd.DataFrame, suite: Suite, tasks: Sequence[str], selection: str, figures: pd.DataFrame
) -> PublishedTable | None:
    """Return the rows of a suite that have a counterpart in `figures`, or None if there are none.

    A counterpart has the same dataset, setting, method, augmentation, backbone and selection rule. Under dg,
    papers
    name the held-out domain alone, often by its first letter.
    """
    fits = (figures["dataset"] == suite.dataset) & (figures["setting"] == suite.setting)
    fits &= figures["selection"].replace(SAME_RULE) == selection
    if not fits.any():
        return None
    fitting = figures[fits]
    backbones = {suite.label(method): suite.backbone_of(method) for method in suite.methods}
    table = accuracy_table(records, suite, tasks, selection)
    one_task = OVERALL in set(fitting["task"])  # their mean is one over classes
    found = []
    for row in table.rows:
        same = (fitting["method"] == row.method) & (fitting["augmentation"] == row.augmentation)
        same &= fitting["backbone"] == _architecture(backbones[row.method])
        for source, theirs in fitting[same].groupby("source", sort=False):
            of_task = dict(zip(theirs["task"], theirs["accuracy"], strict=True))
            found.append(_compared(row, table.columns, of_task, str(source), suite, one_task))
    found = [
        comparison for comparison in found if any(pair.difference is not None for pair in comparison.pairs)
    ]
    return PublishedTable(table, tuple(found)) if found else None


def _architecture(backbone: str) -> str:
    """The name of a timm model without its weights: `resnet50` of `resnet50.tv_in1k`."""
    return backbone.split(".")[0]


def _compared(
    row: Row, columns: Sequence[str], of_task: dict[str, float], source: str, suite: Suite, one_task: bool
) -> Comparison:
    """Our `row` beside the figures of one source, whose task names may differ from ours.

    If the dataset has `one_task`, averages are over classes.
    """
    pairs = [
        Pair(cell, of_task.get(_their_name(task, columns, of_task)))
        for task, cell in zip(columns, row.tasks, strict=True)
    ]
    shared = [pair for pair in pairs if pair.difference is not None]
    single = [name for name in of_task if name not in (AVERAGE, OVERALL)]
    if one_task:
        average = Pair(row.average, of_task.get(AVERAGE if suite.metric == "class_mean" else OVERALL))
    elif len(shared) == len(pairs) == len(single) or (not single and suite.tasks == "all"):
        average = Pair(row.average, of_task.get(AVERAGE, _mean(pair.theirs for pair in shared)))
    else:
        ours = TableCell(_mean(pair.ours.mean for pair in shared))
        average = Pair(ours, _mean(pair.theirs for pair in shared))
    return Comparison(row.method, row.augmentation, source, (*pairs, average), len(shared))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _their_name(task: str, tasks: Sequence[str], theirs: Container[str]) -> str:
    """The name of `task` in a paper: the same, the held-out domain, or a prefix that no other domain has."""
    domain = task.removeprefix("->")
    if task in theirs or domain == task:
        return task
    starts = [domain[:length] for length in range(len(domain), 0, -1)]
    named = [start for start in starts if start in theirs]
    own = [start for start in named if sum(other.startswith(f"->{start}") for other in tasks) == 1]
    return next(iter(own), domain)


def header(published: PublishedTable) -> list[str]:
    """Return the names of the columns of `lines`."""
    return ["Method", *map(arrow, published.table.columns), "Avg"]


def lines(published: PublishedTable) -> list[list[str]]:
    """Return three lines for each comparison: ours, the published figures, the difference."""
    found = []
    for comparison in published.comparisons:
        ours, theirs, differences = _shown(comparison)
        number = published.sources.index(comparison.source) + 1
        found.append([row_name(comparison.method, comparison.augmentation), *ours])
        found.append([f"published [{number}]", *theirs])
        found.append(["difference", *differences])
    return found


def markdown(published: PublishedTable) -> str:
    """Return the lines as a pipe table."""
    escaped = [[_escaped_name(name), *numbers] for name, *numbers in lines(published)]
    title = f"### {markdown_escape(published.table.title)}: beside published figures"
    table = pipe_table(header(published), escaped)
    return "\n".join([title, "", *table, "", markdown_escape(published.caption), ""])


def _escaped_name(name: str) -> str:
    """A line's name in Markdown; `[1]` stays as it is, because no address follows it."""
    return name if name.startswith("published [") else markdown_escape(name)


def latex(published: PublishedTable) -> str:
    r"""Return the lines as a table environment for `\input`."""
    escaped = [
        (place % 3 == 0, [("\\quad " if place % 3 else "") + latex_escape(name), *map(latex_escape, numbers)])
        for place, (name, *numbers) in enumerate(lines(published))
    ]
    table = published.table
    caption = f"{table.title}, beside published figures. {published.caption}"
    return latex_table(table.columns, escaped, caption, f"{table.suite}-published-{table.selection}")


def csv(published: PublishedTable) -> str:
    """Return one line for each figure with a counterpart, to two decimals; `task` is `avg` for averages."""
    table = published.table
    figures = [
        {
            "dataset": table.dataset,
            "selection": table.selection,
            "method": comparison.method,
            "augmentation": comparison.augmentation,
            "task": task,
            "ours": pair.ours.mean,
            "ours error": pair.ours.error,
            "published": pair.theirs,
            "difference": pair.difference,
            "tasks averaged": comparison.averaged if task == AVERAGE else None,
            "source": comparison.source,
        }
        for comparison in published.comparisons
        for task, pair in zip((*table.columns, AVERAGE), comparison.pairs, strict=True)
        if pair.difference is not None
    ]
    return to_csv(pd.DataFrame(figures).astype({"tasks averaged": "Int64"}), float_format="%.2f")


def _shown(comparison: Comparison) -> tuple[list[str], list[str], list[str]]:
    """The columns of the three lines of a comparison, to one decimal, with a dash for what is missing."""
    ours = [pair.ours.number + pair.ours.suffix for pair in comparison.pairs[:-1]]
    theirs = ["–" if pair.theirs is None else f"{pair.theirs:.1f}" for pair in comparison.pairs]
    differences = ["–" if pair.difference is None else signed(pair.difference) for pair in comparison.pairs]
    average = replace(comparison.pairs[-1].ours, remark="")  # what is said there is of the gain
    ours.append(average.number + average.suffix)
    if 0 < comparison.averaged < len(comparison.pairs) - 1:
        differences[-1] += f" ({comparison.averaged} of {len(comparison.pairs) - 1})"
    return ours, theirs, differences
