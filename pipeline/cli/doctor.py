"""`doctor`: what this machine has, and what gets the rest."""

import argparse
import json
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, with_json
from pipeline.cli.suite_loading import store_root


def add(commands: Any) -> None:
    """Adds `doctor`."""
    doctor = add_command(
        commands,
        "doctor",
        examine,
        "what this machine has, and for what is missing the command that gets it",
        "Looks at python, torch,\nGPUs, disk, packages and extras, and the weights and data sets that the suites of "
        "benchmarks/ name.\n\nexit codes: 0 SUITE can be run; 1 something that it needs is missing",
    )
    doctor.add_argument(
        "suite", nargs="?", default="digits", help="a name under benchmarks/ (default: %(default)s)"
    )
    doctor.add_argument(
        "--store", type=Path, metavar="FOLDER", default=None, help="where artifacts will be kept"
    )
    with_json(doctor)


def examine(options: argparse.Namespace) -> int:
    """`doctor`."""
    from pipeline import config, doctor

    named, others = config.read_suite(options.suite), doctor.known_suites()
    suite = named.name
    findings = doctor.examine(store_root(options), [named, *(one for one in others if one.name != suite)])
    print(json.dumps(doctor.as_json(findings, suite)) if options.json else doctor.described(findings, suite))
    return 1 if doctor.wanting(findings, suite) else 0
