"""`run`: the jobs of a suite that are missing are made, then what they gave is shown."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from pipeline.cli.arguments import add_command, positive, with_part, with_suite
from pipeline.cli.output import answer
from pipeline.cli.suite_loading import open_suite
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.core.hardware import Capacity
    from pipeline.core.job import Job
    from pipeline.core.store import Store
    from pipeline.execution.scheduler import Outcome, Walker
    from pipeline.planning.graph import AnyPlan


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
        help="most jobs at a time (default: as many as there are CPU cores and GPUs for); results do not depend on it",
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
        help="of the Ray cluster, or auto for the one that this machine is of (default: a Ray of this machine alone)",
    )
    with_part(run)


def run_suite(options: argparse.Namespace) -> int:
    """`run`."""
    import importlib

    from pipeline.execution.progress import Bars
    from pipeline.execution.scheduler import Outcome, missing
    from pipeline.planning.job_filter import pick
    from pipeline.report.collect import check_writable

    plan, store, folder = open_suite(options)
    part = pick(plan, options.only) if options.only else plan
    check_writable(folder)
    with Bars({}, 1, quiet=options.quiet) as bars:
        todo = missing(part.jobs, store, bars)
    check_backbones(todo)
    outcome = Outcome()
    if todo:
        executor = importlib.import_module(f"pipeline.execution.{options.executor}_executor")
        with executor.opened(options.workers, options.address, cpu=options.cpu) as capacity:
            outcome = make_missing(part, todo, store, capacity, executor.walk, options)
    answer(plan, store, folder, options)
    for job in outcome.skipped:
        print(f"not tried: {job.label}, for a job that it stands on failed", file=sys.stderr)
    return 1 if outcome.failed else 0


def make_missing(
    plan: "AnyPlan",
    todo: "list[Job]",
    store: "Store",
    capacity: "Capacity",
    walk: "Walker",
    options: argparse.Namespace,
) -> "Outcome":
    """Say what is to come, and make `todo`."""
    from pipeline.core.durations import spell_duration
    from pipeline.execution.progress import Bars
    from pipeline.planning import preflight

    remarks = preflight.check(todo, store, capacity, cpu=options.cpu)
    check_optimizer(todo)
    several = preflight.at_a_time(todo, capacity)
    with Bars(preflight.expected(todo, store, capacity), several, quiet=options.quiet) as bars:
        for remark in remarks:
            bars.noted(remark)
        bars.noted(
            f"{plan.suite.name}: {len(todo)} of {len(plan.jobs)} jobs to make, {several} at a time; "
            f"about {spell_duration(bars.time_left())}"
        )
        return walk(todo, store, capacity, bars)


def check_backbones(todo: "list[Job]") -> None:
    """UserError if a backbone does not exist: better said before hours of work than after."""
    from pipeline.config import SMALL

    networks = [job.params.settings for job in todo if job.kind in ("t_predictor", "train")]
    named = {settings.backbone for settings in networks} - {SMALL}
    if named:
        from pipeline.backbones import check_backbone  # imports torch

        for name in sorted(named):
            check_backbone(name)


def check_optimizer(todo: "list[Job]") -> None:
    """UserError if an optimiser's package is missing: the same, for it is made when all images are encoded."""
    import importlib.util

    wanted = any(job.kind == "finetune" and job.params.settings.optimizer == "adamw8bit" for job in todo)
    if wanted and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "finetune.optimizer: adamw8bit needs bitsandbytes; pip install bitsandbytes, or take adamw"
        )
