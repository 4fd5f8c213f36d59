"""What `run` and `tables` end with: records, tables, plots and page of what is finished, and the table on the terminal."""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.drawing import drawing

if TYPE_CHECKING:
    from pandas import DataFrame

    from pipeline.morph_plan import MorphPlan
    from pipeline.plan import Plan
    from pipeline.report.drawn import Drawn
    from pipeline.store import Store

MOST_SENTENCES = 8
"""Of the gains by made images: more are not printed, but named with their file."""


def answer(plan: "Plan | MorphPlan", store: "Store", folder: Path, options: argparse.Namespace) -> None:
    """Write records, tables, plots and page of what is finished, and print the table."""
    from rich.console import Console

    from pipeline.morph_plan import MorphPlan
    from pipeline.report import drawn, tables
    from pipeline.results import state

    if isinstance(plan, MorphPlan):
        from pipeline.morph_results import report_morphs  # imports matplotlib

        print(report_morphs(plan, store, folder, as_json=options.json))
        return
    recorded = records_of(plan, store, folder)
    made = None
    if recorded is not None:
        mark = state(plan, store, folder / "records.csv", options.suite, options.plugin)
        made = drawn.read(folder, mark) or draw(plan, store, folder, options, recorded, mark)
    if options.json:
        counts = {"jobs": len(plan.jobs), "done": sum(store.has(job.kind, job.key) for job in plan.jobs)}
        files = [] if made is None else list(made.files)
        rows = [] if recorded is None else json.loads(recorded.to_json(orient="records", double_precision=15))
        print(
            json.dumps(
                {"suite": plan.suite.name, **counts, "folder": str(folder), "files": files, "records": rows}
            )
        )
        return
    if recorded is None or made is None:
        print(f"no training of {plan.suite.name} is finished yet", file=sys.stderr)
        return
    table = tables.accuracy_table(recorded, plan.suite, list(plan.tasks), plan.suite.selections[0])
    console = Console()
    shown = tables.terminal(table, console.width)
    caption, shown.caption = shown.caption, None
    console.print(shown, caption, sep="\n")
    print(*made.said, sep="\n", end="\n" * bool(made.said))
    print(f"records, tables and plots: {folder}\npage: {folder / drawn.PAGE}\nartifacts: {store.root}")


def records_of(plan: "Plan", store: "Store", folder: Path) -> "DataFrame | None":
    """The records of what is finished, in records.csv of `folder`; what there is to say of them is said."""
    from pipeline.results import gather

    recorded, said = gather(plan, store, folder / "records.csv")
    print(*said, sep="\n", end="\n" * bool(said), file=sys.stderr)
    return recorded


def draw(
    plan: "Plan", store: "Store", folder: Path, options: argparse.Namespace, recorded: "DataFrame", mark: str
) -> "Drawn":
    """Write tables, plots and page of `recorded`."""
    from pipeline.report import about, drawn, page
    from pipeline.report.write import write_report
    from pipeline.results import about_records, about_run, drawn_from

    with drawing(quiet=options.quiet) as progress:
        written = write_report(plan.suite, recorded, drawn_from(plan, store), folder, progress)
    trained = any(store.has(cell.job.kind, cell.job.key) for cell in plan.cells)
    tell = partial(about_run, store=store) if trained else partial(about_records, folder=folder)
    told = tell(plan, file=options.suite, plugins=options.plugin)
    written += [about.write(folder, told), page.write(folder, told, recorded)]
    return drawn.write(folder, mark, written, gains(recorded, plan, folder))


def gains(recorded: "DataFrame", plan: "Plan", folder: Path) -> list[str]:
    """What the tables say of made images, a sentence a comparison, or where to read it if that is long."""
    from pipeline.report import statistics, statistics_text

    suite, selection = plan.suite, plan.suite.selections[0]
    said = statistics_text.sentences(statistics.statistics(recorded, suite, list(plan.tasks), selection))
    if len(said) > MOST_SENTENCES:
        return [f"gains by made images, in {len(said)} sentences: {folder}/tables/statistics_{selection}.md"]
    return said
