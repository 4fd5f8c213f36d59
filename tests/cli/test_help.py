"""Every help text teaches: a verb first, an example, and no line that a terminal breaks."""

import argparse
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.cli import build_parser
from pipeline.core.paths import ROOT


def commands(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """The name, the line of help and the parser of every command below `parser`."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            lines = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for command, sub in action.choices.items():
                yield f"{name} {command}".strip(), lines[command], sub
                yield from commands(sub, f"{name} {command}")


COMMANDS = list(commands(build_parser()))

VERBS = {
    *(
        "run",
        "print",
        "check",
        "write",
        "draw",
        "find",
        "list",
        "show",
        "download",
        "import",
        "change",
        "make",
    ),
    *("score", "measure", "compare"),
}


@pytest.mark.parametrize(("name", "about", "parser"), COMMANDS, ids=[name for name, *_ in COMMANDS])
def test_help_begins_with_a_verb_and_ends_with_examples(
    name: str, about: str, parser: argparse.ArgumentParser
) -> None:
    assert about.split()[0].rstrip(",") in VERBS
    text = parser.description or ""
    assert f"run_benchmark.py {name}" in text
    assert "example" in text
    assert max(map(len, text.splitlines())) <= 110
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, f"{name}: {action.dest} is not explained"


@pytest.mark.parametrize("command", [["--help"], ["plan", "--help"], ["morph", "--help"]])
def test_help_imports_nothing_slow(command: list[str]) -> None:
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        f"try:\n    main({command!r})\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'pandas', 'pydantic', 'matplotlib', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=120)
