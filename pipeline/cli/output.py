"""What `run` and `tables` end with: records, tables, plots and page of what is finished, and the table on the terminal."""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.progress_bar import drawing

if TYPE_CHECKING:
    from pandas import DataFrame

    from pipeline.core.store import Store
    from pipeline.planning.graph import Plan
    from pipeline.planning.morphs import MorphPlan
    from pipeline.report.manifest import Drawn

MOST_SENTENCES = 8
"""Of the gains by made images: more are not printed, but named with their file."""


def answer(plan: "Plan | MorphPlan", store: "Store", folder: Path, options: argparse.Namespace) -> None:
    """Write records, tables, plots and page of what is finished, and print the table."""
    from rich.console import Console

    from pipeline.planning.morphs import MorphPlan
    from pipeline.report import manifest
    from pipeline.report.collect import state
    from pipeline.report.tables import accuracy, formats

    if isinstance(plan, MorphPlan):
        from pipeline.report.collect_morphs import report_morphs  # imports matplotlib

        print(report_morphs(plan, store, folder, as_json=options.json))
        return
    recorded = records_of(plan, store, folder)
    made = None
    if recorded is not None:
        mark = state(plan, store, folder / "records.csv", options.suite, options.plugin)
        made = manifest.read(folder, mark) or draw(plan, store, folder, options, recorded, mark)
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
    table = accuracy.accuracy_table(recorded, plan.suite, list(plan.tasks), plan.suite.selections[0])
    console = Console()
    shown = formats.terminal(table, console.width)
    caption, shown.caption = shown.caption, None
    console.print(shown, caption, sep="\n")
    print(*made.said, sep="\n", end="\n" * bool(made.said))
    print(f"records, tables and plots: {folder}\npage: {folder / manifest.PAGE}\nartifacts: {store.root}")


def records_of(plan: "Plan", store: "Store", folder: Path) -> "DataFrame | None":
    """The records of what is finished, in records.csv of `folder`; what there is to say of them is said."""
    from pipeline.report.collect import gather

    recorded, said = gather(plan, store, folder / "records.csv")
    print(*said, sep="\n", end="\n" * bool(said), file=sys.stderr)
    return recorded


def draw(
    plan: "Plan", store: "Store", folder: Path, options: argparse.Namespace, recorded: "DataFrame", mark: str
) -> "Drawn":
    """Write tables, plots and page of `recorded`."""
    from pipeline.report import manifest as drawn
    from pipeline.report.collect import about_records, about_run, drawn_from
    from pipeline.report.page import build
    from pipeline.report.page import run_info
    from pipeline.report.write import write_report

    with drawing(quiet=options.quiet) as progress:
        written = write_report(plan.suite, recorded, drawn_from(plan, store), folder, progress)
    trained = any(store.has(cell.job.kind, cell.job.key) for cell in plan.cells)
    tell = partial(about_run, store=store) if trained else partial(about_records, folder=folder)
    told = tell(plan, file=options.suite, plugins=options.plugin)
    written += [run_info.write(folder, told), build.write_page(folder, told, recorded)]
    return drawn.write(folder, mark, written, gains(recorded, plan, folder))


def gains(recorded: "DataFrame", plan: "Plan", folder: Path) -> list[str]:
    """What the tables say of made images, a sentence a comparison, or where to read it if that is long."""
    from pipeline.report.tables import significance, significance_text

    suite, selection = plan.suite, plan.suite.selections[0]
    said = significance_text.sentences(significance.statistics(recorded, suite, list(plan.tasks), selection))
    if len(said) > MOST_SENTENCES:
        return [f"gains by made images, in {len(said)} sentences: {folder}/tables/statistics_{selection}.md"]
    return said
