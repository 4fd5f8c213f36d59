"""What the command line does with errors that end a command."""

import argparse
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "digits_smoke", "--workers", "0"], "at least 1"),
        (["run", "digit_demo"], "did you mean 'digits_demo'?"),
        (["datasets", "show", "digitz"], "did you mean 'digits'?"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = parser.main(arguments)
    except SystemExit as exit_:  # argparse's
        code = exit_.code
    assert code == 2
    assert text in capsys.readouterr().err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parser.main(["--help"])
    out = capsys.readouterr().out
    for command in ("run", "plan", "tables", "verify", "doctor", "datasets", "methods", "bench"):
        assert command in out


def test_without_a_gpu_a_suite_for_one_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "benchmarks" / "digits_smoke.yaml").read_text()
    text = text.replace("iterations: 20", "iterations: 100000")
    (tmp_path / "heavy.yaml").write_text(text.replace("backbone: digits_cnn", "backbone: resnet50"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    folders = ["--store", str(tmp_path), "--results", str(tmp_path)]
    assert parser.main(["run", str(tmp_path / "heavy.yaml"), *folders]) == 2
    err = capsys.readouterr().err
    assert "6 of the 11 jobs to make need a GPU" in err
    assert "--cpu" in err
    assert not (tmp_path / "artifacts").exists()
