"""Write an accuracy table as CSV, Markdown and LaTeX, and draw it on a terminal."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pipeline.core.text import one_line, printable
from pipeline.report.tables.accuracy import AccuracyTable, TableCell
from pipeline.report.tables.csv_text import to_csv
from pipeline.report.tables.names import arrow


def csv(table: AccuracyTable) -> str:
    """Return the numbers alone, to two decimals; each column is followed by one with its error."""
    return to_csv(frame(table), float_format="%.2f")


def frame(table: AccuracyTable) -> pd.DataFrame:
    """Return the numbers alone, unrounded; each column is followed by one with its error."""
    lines = []
    for row in table.rows:
        line: dict[str, str | float | int | None] = {
            "dataset": table.dataset,
            "selection": table.selection,
            "method": row.method,
            "augmentation": row.augmentation,
        }
        for name, cell in zip((*table.columns, "Avg"), row.cells, strict=True):
            line |= {name: cell.mean, f"{name} error": cell.error}
        line |= {"gain": row.gain, "tasks averaged": row.averaged, "runs": row.runs}
        line["runs expected"] = len(table.columns) * table.seeds
        lines.append(line)
    return pd.DataFrame(lines)


def markdown(table: AccuracyTable) -> str:
    """Return a pipe table with its title above and its caption below."""
    header = ["Method", *(arrow(task) for task in table.columns), "Avg"]
    lines = [[markdown_escape(row.label), *map(_markdown_cell, row.cells)] for row in table.rows]
    title, caption = markdown_escape(table.title), markdown_escape(table.caption)
    return "\n".join([f"### {title}", "", *pipe_table(header, lines), "", caption, ""])


def pipe_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a pipe table with a left-aligned first column.

    Args:
        header: Names of the columns, as plain text.
        lines: Cells, already in Markdown.
    """
    head = [_pipes(map(markdown_escape, header)), "| :-- |" + " --: |" * (len(header) - 1)]
    return head + [_pipes(line) for line in lines]


def latex(table: AccuracyTable) -> str:
    r"""Return a table environment for `\input`; with seven tasks or more it spans both columns of a page."""
    lines = []
    for row in table.rows:
        label = ("" if row.heads_block else "\\quad ") + latex_escape(row.label)
        lines.append((row.heads_block, [label, *map(_latex_cell, row.cells)]))
    label = f"{table.suite}-{table.selection}"
    return latex_table(table.columns, lines, f"{table.title}. {table.caption}", label)


def latex_table(
    columns: Sequence[str], lines: Iterable[tuple[bool, Sequence[str]]], caption: str, label: str
) -> str:
    """Return a table environment of methods, `columns` and averages.

    Args:
        columns: Names of the tasks.
        lines: For each line, whether a rule stands above it, and its cells in LaTeX.
        caption: The caption, as plain text.
        label: The label, without `tab:`.
    """
    header = ["Method", *(arrow(task) for task in columns), "Avg"]
    floating = "table*" if len(columns) > 6 else "table"
    head = [
        "% \\usepackage{booktabs, graphicx}",
        f"\\begin{{{floating}}}[t]",
        "\\centering",
        f"\\caption{{{latex_escape(caption)}}}",
        f"\\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', label)}}}",
        "\\vspace{1ex}",
        "\\setlength{\\tabcolsep}{4pt}",
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{l{'c' * len(columns)}c}}",
        "\\toprule",
        " & ".join(latex_escape(name) for name in header) + " \\\\",
    ]
    body = ["\\midrule\n" * ruled + " & ".join(cells) + " \\\\" for ruled, cells in lines]
    return "\n".join([*head, *body, "\\bottomrule", "\\end{tabular}}", f"\\end{{{floating}}}", ""])


def terminal(table: AccuracyTable, width: int | None = None) -> Table:
    """Return the table for a terminal of `width` columns; if too wide, tasks go down and methods across."""
    upright, unbounded = _rich(table, turned=False), Console(width=10_000)
    fits = Measurement.get(unbounded, unbounded.options, upright).maximum <= (width or Console().width)
    return upright if fits else _rich(table, turned=True)


def safe_text(text: str, style: str = "") -> Text:
    """Return a text for a table on a terminal, which it neither colours nor clears."""
    return Text(printable(text), style)


def _rich(table: AccuracyTable, turned: bool) -> Table:
    grid = [[safe_text(name) for name in ("Method", *map(arrow, table.columns), "Avg")]]
    block = ""
    for row in table.rows:
        own = one_line(row.label)
        block = own if row.heads_block else block
        label = own if row.heads_block else f"{block}\n{own}" if turned else f"  {own}"
        grid.append([safe_text(label), *(_rich_cell(cell, turned) for cell in row.cells)])
    lines = [list(line) for line in zip(*grid, strict=True)] if turned else grid
    shown = Table(
        title=safe_text(one_line(table.title), "bold"),
        caption=safe_text(table.caption),
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    for place, name in enumerate(lines[0]):
        shown.add_column(name, justify="right" if place else "left", overflow="fold")
    for place, line in enumerate(lines[1:], start=1):
        shown.add_row(*line, end_section=_ends_section(table, place, turned))
    return shown


def _rich_cell(cell: TableCell, turned: bool) -> Text:
    """A cell with little space; where the table is turned, the remark goes on a line of its own."""
    rest = cell.suffix.replace(" ± ", "±")
    if turned:
        rest = rest.replace(" (", "\n(").replace(", ", ",\n")
    return Text.assemble((cell.number, ("", "bold", "underline")[cell.place]), (rest, "dim"))


def _ends_section(table: AccuracyTable, place: int, turned: bool) -> bool:
    """Whether a rule follows line `place` (from 1): before the average, or before the next method."""
    if turned:
        return place == len(table.columns)
    return place < len(table.rows) and table.rows[place].heads_block


def _pipes(fields: Iterable[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def _markdown_cell(cell: TableCell) -> str:
    return ("{}", "**{}**", "<u>{}</u>")[cell.place].format(cell.number) + cell.suffix


def _latex_cell(cell: TableCell) -> str:
    """A cell whose error and remark are set small, because twelve tasks have to fit on a page."""
    number = ("{}", "\\textbf{{{}}}", "\\underline{{{}}}")[cell.place].format(latex_escape(cell.number))
    rest = latex_escape(cell.suffix.replace(" ± ", "±"))
    return number + (f"{{\\scriptsize{{}}{rest}}}" if rest else "")


def markdown_escape(text: str) -> str:
    """Escape the characters that Markdown or HTML would take as markup."""
    return one_line(text).translate({ord(mark): f"\\{mark}" for mark in "\\`*_{}[]<>#|~"})


_LATEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"±": r"$\pm$", "→": r"$\to$", "−": "$-$", "–": "--", "†": r"$^\dagger$"}
)


def latex_escape(text: str) -> str:
    """Escape LaTeX's special characters, and spell the signs of the tables in LaTeX."""
    return one_line(text).translate(_LATEX)
