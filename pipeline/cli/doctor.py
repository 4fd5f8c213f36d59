"""The command `doctor`: check what this machine has, and print what gets the rest."""

import argparse
from typing import Any

from pipeline.cli.arguments import add_command, with_json, with_plugins, with_store
from pipeline.cli.suite_loading import store_root
from pipeline.cli.terminal import say, say_json

DETAILS = """\
Looks at Python, torch, GPUs, disk, packages and extras, and at the weights and datasets that suites name.

examples:
  run_benchmark.py doctor                     for digits; also lists what other suites need
  run_benchmark.py doctor office_home         can this suite be run here?

exit codes: 0 SUITE can be run; 1 something that it needs is missing"""


def add(commands: Any) -> None:
    """Add `doctor`."""
    about = "check what this machine has, and print the commands that get what is missing"
    doctor = add_command(commands, "doctor", examine, about, DETAILS)
    doctor.add_argument(
        "suite",
        nargs="?",
        default="digits",
        help="the file of a suite, or its name under benchmarks/ (default: digits)",
    )
    with_store(doctor)
    with_plugins(doctor)
    with_json(doctor)


def examine(options: argparse.Namespace) -> int:
    """Print the findings; return 1 if something that the suite needs is missing."""
    from pipeline import config, doctor
    from pipeline.execution.suite_plan import use_plugins

    use_plugins(options.plugin)
    suite = config.read_suite(options.suite)
    others = [other for other in doctor.known_suites() if other.name != suite.name]
    findings = doctor.examine(store_root(options), [suite, *others])
    if options.json:
        say_json(doctor.as_json(findings, suite.name))
    else:
        say(doctor.described(findings, suite.name))
    return 1 if doctor.wanting(findings, suite.name) else 0
