"""The command `methods`: list the classifier methods, those of plug-ins too."""

import argparse
from typing import Any

from pipeline.cli.arguments import add_command, with_plugins
from pipeline.cli.terminal import say

EXAMPLES = """\
examples:
  run_benchmark.py methods
  run_benchmark.py methods --plugin my_method.py      list the methods of a plug-in, too"""


def add(commands: Any) -> None:
    """Add `methods`."""
    about = "list the classifier methods and their hyper-parameters"
    with_plugins(add_command(commands, "methods", show_methods, about, EXAMPLES))


def show_methods(options: argparse.Namespace) -> int:
    """Print the methods."""
    from pipeline.classify import plugins, registry

    registry.use(plugins.given(path) for path in options.plugin)
    say(registry.describe_methods())
    return 0
