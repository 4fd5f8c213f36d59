"""The end of `run` and `tables`: write records, tables, figures and page, and print the main table."""

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
    from pipeline.planning.graph import AnyPlan
    from pipeline.report.manifest import DrawnFiles


def answer(plan: "AnyPlan", store: "Store", folder: Path, options: argparse.Namespace) -> None:
    """Write the results of all finished jobs, and print the main table, or everything as JSON."""
    from pipeline.report import manifest
    from pipeline.report.collect import state

    records = gather_records(plan, store, folder)
    drawn = None
    if records is not None:
        mark = state(plan, store, folder / "records.csv", options.suite, options.plugin)
        drawn = manifest.read(folder, mark) or draw(plan, store, folder, options, records, mark)
    if options.json:
        print_json(plan, store, folder, records, drawn)
    elif records is None or drawn is None:
        print_nothing(plan)
    else:
        print_table(plan, store, folder, records, drawn)


def gather_records(plan: "AnyPlan", store: "Store", folder: Path) -> "DataFrame | None":
    """Write records.csv and return its records, if there are any; messages go to standard error."""
    from pipeline.report.collect import gather

    records, messages = gather(plan, store, folder / "records.csv")
    print(*messages, sep="\n", end="\n" * bool(messages), file=sys.stderr)
    return records


def draw(
    plan: "AnyPlan",
    store: "Store",
    folder: Path,
    options: argparse.Namespace,
    records: "DataFrame",
    mark: str,
) -> "DrawnFiles":
    """Write tables, figures and page, and note their fingerprint `mark`."""
    from pipeline.report import manifest
    from pipeline.report.collect import info_of_records, info_of_run
    from pipeline.report.page import run_info
    from pipeline.report.page.build import write_page
    from pipeline.report.suite_report import report_for
    from pipeline.report.write import write_report

    report = report_for(plan.suite.setting)
    with drawing(quiet=options.quiet) as progress:
        written = write_report(plan.suite, records, report.artifacts(plan, store), folder, progress)
    in_store = any(store.has(cell.job.kind, cell.job.key) for cell in plan.cells)
    describe = partial(info_of_run, store=store) if in_store else partial(info_of_records, folder=folder)
    info = describe(plan, file=options.suite, plugins=options.plugin)
    written += [run_info.write(folder, info), write_page(folder, info, records)]
    sentences = report.sentences(plan.suite, records, plan.compared, folder)
    return manifest.write(folder, mark, written, sentences)


def print_json(
    plan: "AnyPlan", store: "Store", folder: Path, records: "DataFrame | None", drawn: "DrawnFiles | None"
) -> None:
    """Print the numbers of jobs, the files and the records."""
    rows = [] if records is None else json.loads(records.to_json(orient="records", double_precision=15))
    result = {
        "suite": plan.suite.name,
        "jobs": len(plan.jobs),
        "done": sum(store.has(job.kind, job.key) for job in plan.jobs),
        "folder": str(folder),
        "files": [] if drawn is None else list(drawn.files),
        "records": rows,
    }
    print(json.dumps(result))


def print_nothing(plan: "AnyPlan") -> None:
    """Tell, on standard error, that there is nothing to show."""
    from pipeline.report.suite_report import report_for

    unit = report_for(plan.suite.setting).schema.unit
    print(f"no {unit} of {plan.suite.name} is finished yet", file=sys.stderr)


def print_table(
    plan: "AnyPlan", store: "Store", folder: Path, records: "DataFrame", drawn: "DrawnFiles"
) -> None:
    """Print the main table, what it tells, and where everything is."""
    from rich.console import Console

    from pipeline.report.manifest import PAGE
    from pipeline.report.suite_report import report_for

    console = Console()
    report = report_for(plan.suite.setting)
    console.print(*report.on_terminal(plan.suite, records, plan.compared, console.width), sep="\n")
    print(*drawn.sentences, sep="\n", end="\n" * bool(drawn.sentences))
    print(f"records, tables and plots: {folder}\npage: {folder / PAGE}\nartifacts: {store.root}")
