"""Add commands, and the arguments that several commands share. Imports nothing that takes time."""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.core.paths import PROGRAM

Call = Callable[[argparse.Namespace], int]
"""Carries out a command and returns its exit code."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose help calls the command as one calls it where this package runs from.

    Texts are written for a checkout, `run_benchmark.py`; an installation has the command `terrabench`.
    """

    def format_help(self) -> str:
        """Return the help text."""
        return super().format_help().replace("run_benchmark.py", PROGRAM)


def positive(text: str) -> int:
    """Parse a whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text!r}")
    return int(text)


def by(module: str, function: str) -> Call:
    """Return a function that imports `module` when it is called, and then calls `function` of it."""
    return lambda options: getattr(importlib.import_module(module), function)(options)


def add_command(
    commands: Any, name: str, call: Call, about: str, details: str = "", description: str | None = None
) -> argparse.ArgumentParser:
    """Add a command to the subparsers of a parser.

    Args:
        commands: What `add_subparsers` returned.
        name: The name of the command.
        call: Carries it out.
        about: One line that starts with a verb, in lower case, for the list of commands.
        details: More paragraphs of the command's own help, which starts with `about`.
        description: The whole text of the command's own help, in place of `about` and `details`.
    """
    text = description or f"{about[0].upper()}{about[1:]}.\n\n{details}"
    sub: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sub.set_defaults(call=call)
    return sub


def with_plugins(sub: argparse.ArgumentParser) -> None:
    """Add --plugin."""
    sub.add_argument(
        "--plugin",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="load a Python file that declares methods (see the README); may be given several times",
    )


def with_json(sub: argparse.ArgumentParser) -> None:
    """Add --json."""
    sub.add_argument("--json", action="store_true", help="print the answer as JSON on standard output")


def with_quiet(sub: argparse.ArgumentParser) -> None:
    """Add --quiet."""
    sub.add_argument("--quiet", action="store_true", help="show no progress")


def with_store(sub: Any, about: str = "where artifacts are kept") -> None:
    """Add --store."""
    sub.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        help=f"{about} (default: $TERRABENCH_STORE, else results/store)",
    )


def with_results(sub: argparse.ArgumentParser) -> None:
    """Add --results."""
    sub.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="the folder that holds the results folders of suites (default: results/)",
    )


def with_suite(sub: argparse.ArgumentParser) -> None:
    """Add a suite, the folders of its artifacts and results, and the form of the answer."""
    sub.add_argument("suite", help="the file of a suite, or its name under benchmarks/")
    with_store(sub)
    with_results(sub)
    with_plugins(sub)
    with_json(sub)
    with_quiet(sub)


def with_part(sub: argparse.ArgumentParser) -> None:
    """Add --only and --cpu."""
    sub.add_argument(
        "--only",
        metavar="FIELD=VALUE,…",
        help="take a part of the suite: task, method, augmentation, seed; of a morph suite kind, method. "
        "Example: --only 'task=MN->MM,method=MCC'",
    )
    sub.add_argument("--cpu", action="store_true", help="use no GPU, even for jobs that take days on a CPU")
