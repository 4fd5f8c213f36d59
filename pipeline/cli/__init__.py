"""The command line. Each command imports what it needs when it runs, so that --help answers at once."""

from pipeline.cli.parser import build_parser, main
from pipeline.cli.suite_loading import open_suite

__all__ = ["build_parser", "main", "open_suite"]
