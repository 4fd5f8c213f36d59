"""What the command line does with errors that end a command."""

import argparse
import subprocess
import sys

import pytest

from pipeline.cli import parser
from pipeline.core.paths import ROOT


def test_a_broken_pipe_other_than_standard_output_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(options: argparse.Namespace) -> int:
        raise BrokenPipeError("a worker is gone")

    class Parser:
        def parse_args(self, arguments: list[str] | None) -> argparse.Namespace:
            return argparse.Namespace(call=call)

    monkeypatch.setattr(parser, "build_parser", Parser)
    with pytest.raises(BrokenPipeError, match="a worker is gone"):
        parser.main([])


@pytest.mark.parametrize("arguments", [["methods"], ["datasets", "list"]])
def test_a_closed_standard_output_ends_a_command_quietly(arguments: list[str]) -> None:
    command = [sys.executable, str(ROOT / "run_benchmark.py"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
