"""The command line. Each command imports what it needs when it runs, so that --help answers at once."""

from pipeline.cli.opening import open_suite
from pipeline.cli.parser import build_parser, main

__all__ = ["build_parser", "main", "open_suite"]
