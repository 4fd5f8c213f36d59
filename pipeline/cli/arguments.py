"""What several commands take, and how a command is added. Imports nothing that takes time."""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[[argparse.Namespace], int]
"""What a command does, and its exit code."""


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text!r}")
    return int(text)


def by(module: str, function: str) -> Call:
    """What carries out a command: a function of a module that takes time to import, and is imported when it runs."""
    return lambda options: getattr(importlib.import_module(module), function)(options)


def add_command(
    commands: Any, name: str, call: Call, about: str, more: str = "", description: str | None = None
) -> argparse.ArgumentParser:
    """Adds a command to a parser's subparsers; its own help is `description`, else `about` and `more`."""
    sub = commands.add_parser(
        name,
        help=about,
        description=description or f"{about}. {more}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(call=call)
    return sub


def with_plugins(sub: argparse.ArgumentParser) -> None:
    """Adds --plugin."""
    sub.add_argument(
        "--plugin",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="a Python file that declares a method (see the README); may be given more than once",
    )


def with_json(sub: argparse.ArgumentParser) -> None:
    """Adds --json."""
    sub.add_argument("--json", action="store_true", help="answer as JSON on standard output")


def with_quiet(sub: argparse.ArgumentParser) -> None:
    """Adds --quiet."""
    sub.add_argument("--quiet", action="store_true", help="no progress")


def with_suite(sub: argparse.ArgumentParser) -> None:
    """Adds a suite, where its artifacts and its results are, and how to answer."""
    sub.add_argument("suite", help="a suite's file, or its name under benchmarks/")
    sub.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        default=None,
        help="where artifacts are kept (default: $TERRABENCH_STORE, else results/store)",
    )
    sub.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        default=None,
        help="where records, tables and plots are written (default: results/)",
    )
    with_plugins(sub)
    with_json(sub)
    with_quiet(sub)


def with_part(sub: argparse.ArgumentParser) -> None:
    """Adds --only, a part of a suite, and --cpu."""
    sub.add_argument(
        "--only",
        metavar="WHICH",
        default=None,
        help="a part of the suite: task, method, augmentation or seed, as in --only 'task=MN->MM,method=MCC'",
    )
    sub.add_argument("--cpu", action="store_true", help="use no GPU, even for what would take days without")
