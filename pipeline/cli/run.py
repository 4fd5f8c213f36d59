"""`run`: the jobs of a suite that are missing are made, then what they gave is shown."""

import argparse
import sys
from typing import Any

from pipeline.cli.arguments import add_command, positive, with_part, with_suite
from pipeline.cli.output import answer
from pipeline.cli.suite_loading import open_any_suite


def add(commands: Any) -> None:
    """Adds `run`."""
    run = add_command(
        commands,
        "run",
        run_suite,
        "make what is missing of a suite, then its records, tables, plots and page",
        "Ctrl-C stops it; the same command goes on from the last checkpoint of every job.",
    )
    with_suite(run)
    run.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        default=None,
        help="run at most N jobs at a time (default: as many as there are CPU cores and GPUs for); "
        "results do not depend on it",
    )
    run.add_argument(
        "--executor",
        choices=["local", "ray"],
        default="local",
        help="where jobs run: processes of this machine, or tasks of a Ray cluster (default: %(default)s)",
    )
    run.add_argument(
        "--address",
        metavar="HOST:PORT",
        default=None,
        help="connect to this Ray cluster; auto finds the cluster of this machine (default: a Ray of this "
        "machine alone)",
    )
    with_part(run)


def run_suite(options: argparse.Namespace) -> int:
    """Make what is missing of a suite, then write and print its results."""
    from pipeline.execution.suite_run import run_plan
    from pipeline.planning.job_filter import pick
    from pipeline.report.collect import check_writable

    plan, store, folder = open_any_suite(options)
    part = pick(plan, options.only) if options.only else plan
    check_writable(folder)
    outcome = run_plan(
        part,
        store,
        executor=options.executor,
        workers=options.workers,
        address=options.address,
        cpu=options.cpu,
        quiet=options.quiet,
    )
    answer(plan, store, folder, options)
    for job in outcome.skipped:
        print(f"not tried: {job.label}, because a job that it needs failed", file=sys.stderr)
    return 1 if outcome.failed else 0
