"""The command `validate`: check a file without running it."""

import argparse
from typing import Any

from pipeline.cli.arguments import add_command, with_json, with_plugins
from pipeline.cli.terminal import remark, say, say_json


def add(commands: Any) -> None:
    """Add `validate`."""
    validate = add_command(
        commands,
        "validate",
        validate_file,
        "check a suite, a dataset card or a plug-in, without running it",
        "A suite is checked as `plan` checks it.\n\n"
        "examples:\n"
        "  run_benchmark.py validate my_suite.yaml\n"
        "  run_benchmark.py validate my_method.py\n\n"
        "exit codes: 0 the file is right, and a line says what it is; 2 a line for each fault",
    )
    validate.add_argument(
        "file",
        metavar="FILE",
        help="a suite or a dataset card (.yaml), a plug-in (.py), or the name of a suite",
    )
    with_plugins(validate)
    with_json(validate)


def validate_file(options: argparse.Namespace) -> int:
    """Check a file, and print what it is or what is wrong with it."""
    from dataclasses import asdict

    from pipeline.execution.suite_plan import use_plugins
    from pipeline.validation import validate

    use_plugins(options.plugin)
    verdict = validate(options.file)
    if options.json:
        say_json(asdict(verdict) | {"valid": not verdict.faults})
    elif verdict.faults:
        for fault in verdict.faults:
            remark(f"error: {fault}")
    else:
        say(f"{verdict.file} is a valid {verdict.kind}: {verdict.summary}")
    return 2 if verdict.faults else 0
