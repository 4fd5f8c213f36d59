"""Write the statistics of a suite as sentences, Markdown and CSV."""

from collections.abc import Sequence

import pandas as pd

from pipeline.report.tables.csv_text import to_csv
from pipeline.report.tables.formats import markdown_escape, pipe_table
from pipeline.report.tables.names import RULE_NAMES, row_name, signed
from pipeline.report.tables.significance import CONTROLS, FEWEST_TASKS, RESAMPLES, Gain, Ranks, Statistics

HOW = (
    "A gain is the mean over tasks of the mean over seeds of the differences between trainings of the same "
    "task and seed, in points of accuracy. Its 95 % interval holds the percentiles of "
    f"{RESAMPLES:,} bootstrap samples (seed 0): tasks are drawn with replacement, and so are the seeds of "
    "each drawn task. p is that of the two-sided exact Wilcoxon signed-rank test of the tasks' gains, not "
    f"corrected for the number of tests. Neither is given with fewer than {FEWEST_TASKS} tasks."
)


def sentences(statistics: Statistics) -> list[str]:
    """Return one sentence for each gain, which can be read without the tables."""
    return [sentence(gain) for gain in statistics.gains]


def sentence(gain: Gain) -> str:
    """Describe a gain in one sentence.

    Example:
        MCC + Terra gains 2.1 points on average over MCC (95 %: 0.9 to 3.3; p = 0.01), better on 10 of 12
        tasks.
    """
    name, other = row_name(gain.method, gain.augmentation), row_name(gain.method, gain.over)
    if gain.mean is None:
        return f"{name} cannot be compared with {other} yet: no training of both is finished."
    size = f"{abs(gain.mean):.1f}"
    loses = gain.mean < 0 and float(size) > 0
    text = (
        f"{name} {'loses' if loses else 'gains'} {size} points on average {'to' if loses else 'over'} {other}"
    )
    found = [f"95 %: {_bounds(gain.interval)}"] if gain.interval else []
    found += [f"p {_p(gain.p)}"] if gain.p is not None else []
    found += [gain.untested] if gain.untested else []
    text += f" ({'; '.join(found)}), better on {gain.better} of {gain.tasks} task{'s' * (gain.tasks != 1)}"
    return f"{text}{_lacking(gain)}."


def _lacking(gain: Gain) -> str:
    """What the comparison lacks, as the end of a sentence."""
    if gain.tasks < gain.asked:
        return f"; on {gain.asked - gain.tasks} of the {gain.asked} tasks one of the two is missing"
    if gain.pairs < gain.pairs_asked:
        return f"; {gain.pairs_asked - gain.pairs} of {gain.pairs_asked} pairs of trainings are missing"
    return ""


def markdown(statistics: Statistics) -> str:
    """Return the sentences, the gains and ranks that they rest on, and how these were computed."""
    rule = RULE_NAMES.get(statistics.selection, statistics.selection)
    parts = [
        f"### {markdown_escape(statistics.title)}: statistics",
        f"Checkpoint: {markdown_escape(rule)}.",
        "\n".join(f"- {markdown_escape(sentence)}" for sentence in sentences(statistics)),
        _pipes(GAIN_HEADER, list(map(gain_cells, statistics.gains))),
        markdown_escape(HOW),
        _pipes(RANK_HEADER, rank_cells(statistics.ranks)),
        markdown_escape(ranks_caption(statistics.ranks)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


GAIN_HEADER = ("Row", "Over", "Gain", "95 %", "p", "Better on tasks", "Pairs of trainings")
RANK_HEADER = ("Row", "Average rank")


def gain_cells(gain: Gain) -> list[str]:
    """Return a line of the table of gains, under `GAIN_HEADER`."""
    fewer = gain.tasks < gain.asked
    mean = "–" if gain.mean is None else signed(gain.mean)
    return [
        row_name(gain.method, gain.augmentation),
        row_name(gain.method, gain.over),
        mean + (f" ({gain.tasks} of {gain.asked} tasks)" if fewer and gain.tasks else ""),
        _bounds(gain.interval) if gain.interval else "–",
        "–" if gain.p is None else _p(gain.p).removeprefix("= "),
        f"{gain.better} of {gain.tasks}",
        f"{gain.pairs} of {gain.pairs_asked}",
    ]


def rank_cells(ranks: Ranks) -> list[list[str]]:
    """Return the lines of the table of ranks, under `RANK_HEADER`: best first, rows without result last."""
    placed = zip(ranks.rows, ranks.average, strict=True)
    found = [[row_name(*row), f"{average:.2f}"] for row, average in placed]
    return found + [[row_name(*row), "–"] for row in ranks.left_out]


def _pipes(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return (
        "\n".join(pipe_table(header, [list(map(markdown_escape, line)) for line in lines])) if lines else ""
    )


def ranks_caption(ranks: Ranks) -> str:
    """Describe what the average ranks are over, and when two of them differ."""
    if not ranks.rows:
        return f"No ranks: {ranks.untested}."
    text = f"Average rank (1 is best, ties share the mean) over {ranks.tasks} tasks"
    if ranks.tasks < ranks.asked:
        text += f" of {ranks.asked}; on the others a row has no result"
    if ranks.left_out:
        text += f". Without any result: {', '.join(row_name(*row) for row in ranks.left_out)}"
    if ranks.critical is None:
        return f"{text}. No critical difference, {ranks.untested}."
    return f"{text}. Ranks less than {ranks.critical:.2f} apart do not differ significantly (Nemenyi, 5 %)."


def csv(statistics: Statistics) -> str:
    """Return one line for each row of the accuracy table: its rank and its gain over each control."""
    ranks, gains = statistics.ranks, {(g.method, g.augmentation, g.over): g for g in statistics.gains}
    average = dict(zip(ranks.rows, ranks.average, strict=True))
    lines = []
    for method, augmentation in statistics.rows:
        line: dict[str, str | float | int | None] = {
            "dataset": statistics.dataset,
            "selection": statistics.selection,
            "method": method,
            "augmentation": augmentation,
            "average rank": average.get((method, augmentation)),
            "tasks ranked": ranks.tasks,
            "critical difference": ranks.critical,
        }
        for over in CONTROLS:
            line |= _gain_columns(gains.get((method, augmentation, over)), over)
        lines.append(line)
    return to_csv(pd.DataFrame(lines), float_format="%.6g")


def _gain_columns(gain: Gain | None, over: str) -> dict[str, float | int | None]:
    """The columns of a gain over one control."""
    low, high = gain.interval if gain and gain.interval else (None, None)
    values = {
        "": gain.mean if gain else None,
        " low": low,
        " high": high,
        " p": gain.p if gain else None,
        " better": gain.better if gain else None,
        " tasks": gain.tasks if gain else None,
        " pairs": gain.pairs if gain else None,
    }
    return {f"gain over {over}{name}": value for name, value in values.items()}


def _bounds(interval: tuple[float, float]) -> str:
    low, high = (f"{round(bound, 1) + 0.0:.1f}".replace("-", "−") for bound in interval)
    return f"{low} to {high}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"
