"""`methods`: the classifier methods, those of plug-ins too."""

import argparse
from typing import Any

from pipeline.cli.arguments import add_command, with_plugins


def add(commands: Any) -> None:
    """Adds `methods`."""
    about = "list the classifier methods and their hyper-parameters"
    with_plugins(add_command(commands, "methods", show_methods, about))


def show_methods(options: argparse.Namespace) -> int:
    """`methods`."""
    from pipeline.classify import plugins, registry

    registry.use(plugins.given(path) for path in options.plugin)
    print(registry.describe_methods())
    return 0
