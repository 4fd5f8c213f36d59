"""The end of `run` and `tables`: write records, tables, figures and page, and print the main table."""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.terminal import remark, say, say_json, stdout
from pipeline.core.text import one_line

if TYPE_CHECKING:
    from pandas import DataFrame

    from pipeline.core.store import Store
    from pipeline.planning.graph import AnyPlan
    from pipeline.report.results import Results


def answer(plan: "AnyPlan", store: "Store", folder: Path, options: argparse.Namespace) -> None:
    """Write the results of all finished jobs, and print the main table, or everything as JSON."""
    from pipeline.report.progress_bar import drawing
    from pipeline.report.results import write_results

    results = write_results(
        plan,
        store,
        folder,
        file=options.suite,
        plugins=options.plugin,
        drawing=partial(drawing, quiet=options.quiet),
        tell=remark,
    )
    if options.json:
        print_json(plan, store, folder, results)
    elif results is None:
        print_nothing(plan)
    else:
        print_table(plan, store, folder, results)


def gather_records(plan: "AnyPlan", store: "Store", folder: Path) -> "DataFrame | None":
    """Write records.csv and return its records, if there are any; messages go to standard error."""
    from pipeline.report.collect import gather

    records, messages = gather(plan, store, folder / "records.csv")
    for message in messages:
        remark(message)
    return records


def print_json(plan: "AnyPlan", store: "Store", folder: Path, results: "Results | None") -> None:
    """Print the numbers of jobs, the files and the records."""
    rows, files = [], []
    if results is not None:
        rows = json.loads(results.records.to_json(orient="records", double_precision=15))
        files = list(results.drawn.files)
    result = {
        "suite": plan.suite.name,
        "jobs": len(plan.jobs),
        "done": sum(store.has(job.kind, job.key) for job in plan.jobs),
        "folder": str(folder),
        "files": files,
        "records": rows,
    }
    say_json(result)


def print_nothing(plan: "AnyPlan") -> None:
    """Tell, on standard error, that there is nothing to show."""
    from pipeline.report.suite_report import report_for

    unit = report_for(plan.suite.setting).schema.unit
    remark(f"no {unit} of {plan.suite.name} is finished yet")


def print_table(plan: "AnyPlan", store: "Store", folder: Path, results: "Results") -> None:
    """Print the main table, what it tells, and where everything is."""
    from rich.console import Console

    from pipeline.report.suite_report import report_for

    console = Console(file=stdout())
    report = report_for(plan.suite.setting)
    console.print(*report.on_terminal(plan.suite, results.records, plan.compared, console.width), sep="\n")
    for sentence in results.drawn.sentences:
        say(one_line(sentence))
    say(f"records, tables and plots: {folder}\npage: {results.page}\nartifacts: {store.root}")
