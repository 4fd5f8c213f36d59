"""The first section of the page of a suite of trainings: accuracies, gains and ranks by selection rule."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.config import Suite
from pipeline.report.page.html_table import full_label
from pipeline.report.page.run_info import RunInfo
from pipeline.report.suite_report import Section
from pipeline.report.tables import accuracy, published, published_files, significance, significance_text
from pipeline.report.tables.names import RULE_NAMES, row_name


@dataclass(frozen=True)
class TextTable:
    """A table of texts; the first cell of a line is its name."""

    header: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True)
class RuleTables:
    """What the page shows under one selection rule, which `words` describe."""

    name: str
    words: str
    tables: Sequence[accuracy.AccuracyTable]
    sentences: Sequence[str]
    gains: TextTable
    ranks: TextTable
    about_ranks: str
    published: TextTable | None
    about_published: str | None


def accuracy_section(info: RunInfo, records: pd.DataFrame) -> Section:
    """Return the section."""
    suite: Suite = info.suite  # type: ignore[assignment]
    figures = published_files.read_all(published_files.files())
    rules = [_rule(suite, info, records, figures, name) for name in suite.selections]
    methods = len(suite.methods)
    return Section(
        heading="Accuracy",
        template="accuracy.html.j2",
        best=_best(rules[0]),
        summary=f"{methods} method{'s' * (methods != 1)} on {info.card.title}, "
        f"{records['key'].nunique()} trainings.",
        unit="trainings",
        facts=[
            ("Seeds", ", ".join(map(str, suite.seeds))),
            *((library, f"the losses of {', '.join(methods)}") for library, methods in _libraries(records)),
        ],
        context={"rules": rules, "how": significance_text.HOW, "failed": _failed(records)},
    )


def _rule(
    suite: Suite, info: RunInfo, records: pd.DataFrame, figures: pd.DataFrame, selection: str
) -> RuleTables:
    """All tables under one selection rule; where the mean of classes counts, one of the classes per task."""
    tasks = info.tasks
    found = significance.statistics(records, suite, tasks, selection)
    beside = published.published_table(records, suite, tasks, selection, figures)
    of_classes = [
        accuracy.class_table(records, suite, task, info.card.classes, selection)
        for task in (tasks if suite.metric == "class_mean" else [])
    ]
    return RuleTables(
        name=selection,
        words=RULE_NAMES[selection],
        tables=[accuracy.accuracy_table(records, suite, tasks, selection), *of_classes],
        sentences=significance_text.sentences(found),
        gains=TextTable(significance_text.GAIN_HEADER, list(map(significance_text.gain_cells, found.gains))),
        ranks=TextTable(significance_text.RANK_HEADER, significance_text.rank_cells(found.ranks)),
        about_ranks=significance_text.ranks_caption(found.ranks),
        published=None if beside is None else TextTable(published.header(beside), published.lines(beside)),
        about_published=None if beside is None else beside.caption,
    )


def _best(rule: RuleTables) -> str:
    """The first row with the best average in words, if there are several rows to compare."""
    row = next((row for row in rule.tables[0].rows if row.average.place == 1), None)
    if row is None:
        return ""
    tasks = f"{row.averaged} task{'s' * (row.averaged != 1)}"
    average = f"{row.average.number} %{row.average.suffix}"
    return f"{full_label(row)}, {average}, over {tasks}; checkpoint: {rule.words}"


def _libraries(records: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """The libraries that losses are from, each with its methods."""
    named = records[records["library"] != ""]
    return [(str(name), list(rows["method"].unique())) for name, rows in named.groupby("library")]


def _failed(records: pd.DataFrame) -> list[tuple[str, str]]:
    """The trainings that failed, each with its reason."""
    rows = records[records["status"] == "failed"].drop_duplicates("key")
    return [
        (f"{row['task']}, {row_name(row['method'], row['augmentation'])}, seed {row['seed']}", row["reason"])
        for row in rows.to_dict("records")
    ]
