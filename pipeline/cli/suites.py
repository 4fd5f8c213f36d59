"""`plan`, `tables`, `plots`, `verify`: what there is of a suite."""

import argparse
import json
import sys
from typing import Any

from pipeline.cli.arguments import add_command, with_part, with_suite
from pipeline.cli.output import answer, records_of
from pipeline.cli.progress_bar import drawing
from pipeline.cli.suite_loading import open_any_suite, open_suite


def add_plan(commands: Any) -> None:
    """Adds `plan`."""
    plan = add_command(
        commands,
        "plan",
        show_plan,
        "print the jobs of a suite, which are done, and what the others will need",
        "Hours, disk and GPU memory are\nestimates; it is said which rates are measured, and which are stated.",
    )
    with_suite(plan)
    with_part(plan)


def add_drawing(commands: Any) -> None:
    """Adds `tables` and `plots`."""
    about = "write records, tables, plots and page from what is finished, without training"
    with_suite(add_command(commands, "tables", draw_tables, about))
    about = "draw the pictures alone: those that are missing, or that would come out otherwise"
    with_suite(add_command(commands, "plots", draw_plots, about))


def add_verify(commands: Any) -> None:
    """Adds `verify`."""
    about = "check every file of a suite's artifacts against its hash"
    with_suite(add_command(commands, "verify", verify_suite, about))


def show_plan(options: argparse.Namespace) -> int:
    """`plan`."""
    from pipeline.execution import local_executor
    from pipeline.planning import preflight
    from pipeline.planning.job_filter import pick

    plan, store, _ = open_any_suite(options)
    plan = pick(plan, options.only) if options.only else plan
    with local_executor.open_executor(None, None, cpu=options.cpu) as capacity:
        if options.json:
            print(json.dumps(preflight.as_json(plan, store, capacity)))
        else:
            print(preflight.as_text(plan, store, capacity))
    return 0


def draw_tables(options: argparse.Namespace) -> int:
    """`tables`."""
    from pipeline.report.collect import check_writable

    plan, store, folder = open_any_suite(options)
    check_writable(folder)
    answer(plan, store, folder, options)
    return 0


def draw_plots(options: argparse.Namespace) -> int:
    """`plots`."""
    from pipeline.report.collect import check_writable, drawn_from
    from pipeline.report.write import write_plots

    plan, store, folder = open_suite(options)
    check_writable(folder)
    recorded = records_of(plan, store, folder)
    if recorded is None:
        print(f"no training of {plan.suite.name} is finished yet", file=sys.stderr)
        return 0
    with drawing(quiet=options.quiet) as progress:
        pictures = write_plots(plan.suite, recorded, drawn_from(plan, store), folder, progress)
    told = {"suite": plan.suite.name, "folder": str(folder), "files": list(map(str, pictures))}
    print(json.dumps(told) if options.json else f"{len(pictures)} files of pictures: {folder / 'plots'}")
    return 0


def verify_suite(options: argparse.Namespace) -> int:
    """`verify`."""
    plan, store, _ = open_any_suite(options)
    present = [job for job in plan.jobs if store.has(job.kind, job.key)]
    found = {job: store.damage(job.kind, job.key, thorough=True) for job in present}
    damaged = {job: damage for job, damage in found.items() if damage}
    if options.json:
        bad = [{"label": job.label, "key": job.key, "damage": str(damage)} for job, damage in damaged.items()]
        print(json.dumps({"checked": len(present), "damaged": bad}))
    else:
        for job, damage in damaged.items():
            print(f"{store.path(job.kind, job.key)} ({job.label}): {damage}")
        print(f"{len(present)} artifacts checked, {len(damaged)} damaged")
    for job in damaged:
        store.discard(job.kind, job.key)
    if damaged and not options.json:
        print("the damaged ones were taken away; `run` makes them again")
    return 1 if damaged else 0
