"""What the command line does with errors that end a command."""

import argparse
import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import main as entry_point
from pipeline.cli import parser
from pipeline.core.errors import FaultyFileError, UserError
from pipeline.core.paths import ROOT


def ended_by(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command that `error` ends."""

    def call(options: argparse.Namespace) -> int:
        raise error

    class Parser:
        def parse_args(self, arguments: list[str] | None) -> argparse.Namespace:
            return argparse.Namespace(call=call)

    monkeypatch.setattr(parser, "build_parser", Parser)
    return parser.main([])


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("a\x1b[2J"), 2, "error: a\\x1b[2J"),
        (FaultyFileError(["one", "two"]), 2, "error: one\nerror: two"),
        (KeyboardInterrupt(), 130, "\nstopped; the same command goes on where it was"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.csv"),
            2,
            "error: x.csv: No space left on device; m",
        ),
        (
            OSError(errno.EROFS, "Read-only file system"),
            2,
            "error: Read-only file system; write to another fo",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "x"),
            2,
            "error: x: Permission denied; get the perm",
        ),
        (
            IsADirectoryError(errno.EISDIR, "Is a directory", "x"),
            2,
            "error: x: Is a directory; move this folder",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "x"),
            2,
            "error: x: Not a directory; move away th",
        ),
        (OSError(errno.EIO, "Input/output error", "x"), 2, "error: x: Input/output error; check the disk"),
        (MemoryError(), 2, "error: the memory of this machine is used up"),
    ],
)
def test_an_error_of_the_surroundings_is_one_sentence(
    error: BaseException,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended_by(error, monkeypatch) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(told)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError("a worker is gone"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        OSError("without a number"),
        RecursionError("maximum recursion depth exceeded"),
        SystemExit(3),
        KeyError("seconds"),
        EOFError(),
    ],
)
def test_an_error_of_the_program_is_not_hidden(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)) as raised:
        ended_by(error, monkeypatch)
    assert raised.value is error


@pytest.mark.parametrize(("redirect", "code"), [(">&-", 0), (">/dev/full", 2), ("| true", 0)])
@pytest.mark.parametrize("command", ["methods", "datasets list --json"])
def test_a_standard_output_that_takes_nothing(command: str, redirect: str, code: int) -> None:
    line = f"set -o pipefail; {sys.executable} {ROOT / 'run_benchmark.py'} {command} {redirect}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout == ""
    full = "error: No space left on device; make room, or write to another disk\n"
    assert done.stderr == (full if code else "")


@pytest.mark.parametrize(
    "arguments",
    ["export FOLDER/morph --to FOLDER/morph/x.csv", "report FOLDER/morph", "tables morph --results FOLDER"],
)
def test_results_on_a_full_disk_are_one_sentence(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "results" / "reference" / "morph", tmp_path / "morph")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setenv("TERRABENCH_STORE", str(tmp_path / "store"))
    assert parser.main(arguments.replace("FOLDER", str(tmp_path)).split()) == 2
    err = capsys.readouterr().err
    assert re.search(rf"error: {tmp_path}/morph/\S+: No space left on device; make room", err)
    assert "Traceback" not in err


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


def test_an_interrupt_while_modules_are_imported_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.cli.main", interrupted)
    assert entry_point() == 130
    assert capsys.readouterr().err == "\nstopped before the command began\n"
