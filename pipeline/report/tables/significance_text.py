"""The statistics of a suite in plain sentences, as Markdown and as CSV."""

from collections.abc import Sequence

import pandas as pd

from pipeline.report.tables.accuracy import RULES, shown, signed
from pipeline.report.tables.significance import CONTROLS, FEWEST_TASKS, RESAMPLES, Gain, Ranks, Statistics
from pipeline.report.tables.write import markdown_escape, pipe_table

HOW = (
    f"A gain is the mean over tasks of the mean over seeds of differences between trainings of the same task and seed, "
    f"in points of accuracy. Its 95 % interval: the percentiles of {RESAMPLES:,} bootstrap samples "
    f"(seed 0), each of as many tasks drawn with replacement, and of each of those as many of its seeds. p: Wilcoxon "
    f"signed-rank test of the tasks' gains, two-sided, exact, not corrected for the number of tests. "
    f"Neither is given for fewer than {FEWEST_TASKS} tasks."
)


def row_name(method: str, augmentation: str) -> str:
    """A row as it is called outside its table: `MCC`, `MCC + Terra`."""
    added = shown(augmentation)
    return f"{method} + {added}" if added else method


def sentences(statistics: Statistics) -> list[str]:
    """One for every gain, to be read without the tables."""
    return [sentence(gain) for gain in statistics.gains]


def sentence(gain: Gain) -> str:
    """MCC + Terra gains 2.1 points on average over MCC (95 %: 0.9 to 3.3; p = 0.01), better on 10 of 12 tasks."""
    name, other = row_name(gain.method, gain.augmentation), row_name(gain.method, gain.over)
    if gain.mean is None:
        return f"{name} cannot be compared with {other} yet: no training of both is finished."
    size = f"{abs(gain.mean):.1f}"
    loses = gain.mean < 0 and float(size) > 0
    said = (
        f"{name} {'loses' if loses else 'gains'} {size} points on average {'to' if loses else 'over'} {other}"
    )
    found = [f"95 %: {_bounds(gain.interval)}"] if gain.interval else []
    found += [f"p {_p(gain.p)}"] if gain.p is not None else []
    found += [gain.untested] if gain.untested else []
    said += f" ({'; '.join(found)}), better on {gain.better} of {gain.tasks} task{'s' * (gain.tasks != 1)}"
    return f"{said}{_lacking(gain)}."


def _lacking(gain: Gain) -> str:
    """What the comparison lacks, if anything."""
    if gain.tasks < gain.asked:
        return f"; on {gain.asked - gain.tasks} of the {gain.asked} tasks one of the two is missing"
    if gain.pairs < gain.pairs_asked:
        return f"; {gain.pairs_asked - gain.pairs} of {gain.pairs_asked} pairs of trainings are missing"
    return ""


def markdown(statistics: Statistics) -> str:
    """Sentences, then the gains and ranks they stand on, then how these were computed."""
    rule = RULES.get(statistics.selection, statistics.selection)
    parts = [
        f"### {markdown_escape(statistics.title)}: statistics",
        f"Checkpoint: {markdown_escape(rule)}.",
        "\n".join(f"- {markdown_escape(said)}" for said in sentences(statistics)),
        _pipes(GAIN_HEADER, list(map(gain_cells, statistics.gains))),
        markdown_escape(HOW),
        _pipes(RANK_HEADER, rank_cells(statistics.ranks)),
        markdown_escape(ranks_caption(statistics.ranks)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


GAIN_HEADER = ("Row", "Over", "Gain", "95 %", "p", "Better on tasks", "Pairs of trainings")
RANK_HEADER = ("Row", "Average rank")


def gain_cells(gain: Gain) -> list[str]:
    """A line of the table of gains, under GAIN_HEADER."""
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
    """The lines of the table of ranks, under RANK_HEADER, the best first; rows without any result last."""
    placed = zip(ranks.rows, ranks.average, strict=True)
    found = [[row_name(*row), f"{average:.2f}"] for row, average in placed]
    return found + [[row_name(*row), "–"] for row in ranks.left_out]


def _pipes(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return (
        "\n".join(pipe_table(header, [list(map(markdown_escape, line)) for line in lines])) if lines else ""
    )


def ranks_caption(ranks: Ranks) -> str:
    """What the average ranks are over, and when two of them differ."""
    if not ranks.rows:
        return f"No ranks: {ranks.untested}."
    said = f"Average rank (1 is best, equals share the mean) over {ranks.tasks} tasks"
    if ranks.tasks < ranks.asked:
        said += f" of {ranks.asked}, for on the others a row has no result"
    if ranks.left_out:
        said += f". Without any result: {', '.join(row_name(*row) for row in ranks.left_out)}"
    if ranks.critical is None:
        return f"{said}. No critical difference, {ranks.untested}."
    return f"{said}. Ranks less than {ranks.critical:.2f} apart are not told apart (Nemenyi, 5 %)."


def csv(statistics: Statistics) -> str:
    """One line for each row of the accuracy table: its rank, and its gain over each control, to full precision."""
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
    return pd.DataFrame(lines).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _gain_columns(gain: Gain | None, over: str) -> dict[str, float | int | None]:
    low, high = gain.interval if gain and gain.interval else (None, None)
    values = {
        "": gain and gain.mean,
        " low": low,
        " high": high,
        " p": gain and gain.p,
        " better": gain and gain.better,
        " tasks": gain and gain.tasks,
        " pairs": gain and gain.pairs,
    }
    return {f"gain over {over}{name}": value for name, value in values.items()}


def _bounds(interval: tuple[float, float]) -> str:
    low, high = (f"{round(bound, 1) + 0.0:.1f}".replace("-", "−") for bound in interval)
    return f"{low} to {high}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"
