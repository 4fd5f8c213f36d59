"""The command `run`: make the missing artifacts of a suite, and show its results."""

import argparse
from typing import Any

from pipeline.cli.arguments import add_command, positive, with_part, with_suite
from pipeline.cli.output import answer
from pipeline.cli.suite_loading import open_suite
from pipeline.cli.terminal import remark

DETAILS = """\
Makes what is missing, and writes records, tables, figures and page. Ctrl-C stops it; the same command
resumes every job from its last checkpoint. Results do not depend on --workers and --executor.

examples:
  run_benchmark.py run digits
  run_benchmark.py run digits --only 'task=MN->MM,method=MCC'
  run_benchmark.py run digits --executor ray --address auto
  run_benchmark.py run my_suite.yaml --plugin my_method.py

exit codes: 0 finished; 1 some jobs failed, the others were made; 2 a mistake in the command or a file;
130 interrupted"""


def add(commands: Any) -> None:
    """Add `run`."""
    about = "run the missing jobs of a suite, and show its results"
    run = add_command(commands, "run", run_suite, about, DETAILS)
    with_suite(run)
    run.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="run at most N jobs at a time (default: as many as there are CPU cores and GPUs for)",
    )
    run.add_argument(
        "--executor",
        choices=["local", "ray"],
        default="local",
        help="run jobs in processes of this machine, or as tasks of a Ray cluster (default: %(default)s)",
    )
    run.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="connect to this Ray cluster; auto finds the cluster of this machine (default: a Ray of this "
        "machine alone)",
    )
    with_part(run)


def run_suite(options: argparse.Namespace) -> int:
    """Run the missing jobs, then write and print the results."""
    from pipeline.execution.suite_run import run_plan
    from pipeline.planning.job_filter import pick
    from pipeline.report.collect import check_writable

    plan, store, folder = open_suite(options)
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
        remark(f"not tried: {job.label}, because a job that it needs failed")
    return 1 if outcome.failed else 0
