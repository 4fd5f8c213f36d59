"""The commands `plan`, `tables`, `plots` and `verify`: show, draw and check what there is of a suite."""

import argparse
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, with_part, with_suite
from pipeline.cli.output import answer, gather_records, print_nothing
from pipeline.cli.suite_loading import open_suite
from pipeline.cli.terminal import say, say_json
from pipeline.report.progress_bar import drawing

PLAN = """\
Hours, disk and GPU memory are estimates; the last column tells which rates were measured, and which are
stated.

examples:
  run_benchmark.py plan digits
  run_benchmark.py plan benchmarks/digits_demo.yaml --only 'task=MN->MM'
  run_benchmark.py plan office_home --rates l4.json      on a card that `bench gpu` measured
  run_benchmark.py plan digits --json      with the keys of all jobs, for `export-lora` and `analogy`"""

TABLES = """\
Writes records.csv, tables/, plots/ and index.html into the results folder. Figures are redrawn only if
their inputs changed.

examples:
  run_benchmark.py tables digits
  run_benchmark.py tables digits --results results/reference     draw from records alone"""

PLOTS = """\
Unlike `tables`, it writes no tables and no page. Figures are redrawn only if their inputs changed.

example: run_benchmark.py plots digits"""

VERIFY = """\
Damaged artifacts are removed; `run` makes them again.

example: run_benchmark.py verify digits

exit codes: 0 all files are as they were written; 1 some are not"""


def add_plan(commands: Any) -> None:
    """Add `plan`."""
    about = "print the jobs of a suite, which are finished, and what the others will need"
    plan = add_command(commands, "plan", show_plan, about, PLAN)
    with_suite(plan)
    with_part(plan)
    plan.add_argument(
        "--rates",
        type=Path,
        metavar="FILE",
        help="estimate hours on the card of this file, which `bench gpu --json` wrote (default: the card of "
        "this machine, with results/rates/CARD.json if it is there)",
    )


def add_drawing(commands: Any) -> None:
    """Add `tables` and `plots`."""
    about = "write records, tables, figures and page of the finished jobs, without running any"
    with_suite(add_command(commands, "tables", draw_tables, about, TABLES))
    about = "draw the figures alone"
    with_suite(add_command(commands, "plots", draw_plots, about, PLOTS))


def add_verify(commands: Any) -> None:
    """Add `verify`."""
    about = "check every file of a suite's artifacts against its hash"
    with_suite(add_command(commands, "verify", verify_suite, about, VERIFY))


def show_plan(options: argparse.Namespace) -> int:
    """Print the jobs of a suite, or of a part of it."""
    from pipeline.execution import local_executor
    from pipeline.execution.suite_plan import check_domains
    from pipeline.planning import preflight
    from pipeline.planning.job_filter import pick
    from pipeline.planning.rates import read_rates

    rates = read_rates(options.rates) if options.rates else None
    plan, store, _ = open_suite(options)
    plan = pick(plan, options.only) if options.only else plan
    check_domains(plan.card, plan.jobs)
    with local_executor.open_executor(None, None, cpu=options.cpu) as capacity:
        if options.json:
            say_json(preflight.as_json(plan, store, capacity, rates))
        else:
            say(preflight.as_text(plan, store, capacity, rates))
    return 0


def draw_tables(options: argparse.Namespace) -> int:
    """Write records, tables, figures and page."""
    from pipeline.report.collect import check_writable

    plan, store, folder = open_suite(options)
    check_writable(folder)
    answer(plan, store, folder, options)
    return 0


def draw_plots(options: argparse.Namespace) -> int:
    """Draw the figures."""
    from pipeline.report.collect import check_writable
    from pipeline.report.suite_report import report_for
    from pipeline.report.write import write_figures

    plan, store, folder = open_suite(options)
    check_writable(folder)
    records = gather_records(plan, store, folder)
    if records is None:
        print_nothing(plan)
        return 0
    artifacts = report_for(plan.suite.setting).artifacts(plan, store)
    with drawing(quiet=options.quiet) as progress:
        files = write_figures(plan.suite, records, artifacts, folder, progress)
    result = {"suite": plan.suite.name, "folder": str(folder), "files": list(map(str, files))}
    if options.json:
        say_json(result)
    else:
        say(f"{len(files)} files of figures: {folder / 'plots'}")
    return 0


def verify_suite(options: argparse.Namespace) -> int:
    """Check all artifacts, and remove the damaged ones."""
    plan, store, _ = open_suite(options)
    finished = [job for job in plan.jobs if store.has(job.kind, job.key)]
    checked = {job: store.damage(job.kind, job.key, thorough=True) for job in finished}
    damaged = {job: damage for job, damage in checked.items() if damage}
    if options.json:
        listed = [
            {"label": job.label, "key": job.key, "damage": str(damage)} for job, damage in damaged.items()
        ]
        say_json({"checked": len(finished), "damaged": listed})
    else:
        for job, damage in damaged.items():
            say(f"{store.path(job.kind, job.key)} ({job.label}): {damage}")
        say(f"{len(finished)} artifacts checked, {len(damaged)} damaged")
    for job in damaged:
        store.discard(job.kind, job.key)
    if damaged and not options.json:
        say("the damaged artifacts were removed; `run` makes them again")
    return 1 if damaged else 0
