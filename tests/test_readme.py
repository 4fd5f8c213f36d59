"""What the README gives to paste works as pasted."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.core.paths import ROOT


def section(heading: str) -> str:
    """The text of the README under a heading."""
    return (ROOT / "README.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def block(text: str, language: str) -> str:
    """The one code block of a language in `text`."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return found


def checkout(folder: Path) -> None:
    """A copy of what the commands need, so that they write into no real results; its python is this one."""
    for name, left_out in (("pipeline", "__pycache__"), ("benchmarks", "__pycache__"), ("datasets", "data")):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(left_out))
    shutil.copy(ROOT / "run_benchmark.py", folder)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)


def test_the_papers_benchmarks_are_planned_and_examined_as_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to where data and a GPU are needed; the other commands are understood."""
    text = section("Run the papers' benchmarks")
    for name in re.findall(r"`(\w+)`", text.split("\n\n")[0]):
        assert (ROOT / "benchmarks" / f"{name}.yaml").is_file(), name
    monkeypatch.setenv("TERRABENCH_STORE", str(tmp_path))
    monkeypatch.setenv("TERRABENCH_DATA", str(tmp_path))
    commands = [shlex.split(line, comments=True) for line in block(text, "bash").splitlines()]
    assert all(words[:2] == [".venv/bin/python", "run_benchmark.py"] for words in commands)
    codes = {words[2]: cli.main(words[2:]) for words in commands if words[2] in ("plan", "doctor")}
    assert codes == {"plan": 0, "doctor": 1}
    said = capsys.readouterr().out
    assert "12 tasks: Ar->Cl" in said
    assert "datasets fetch office_home" in said
    assert "hours are those of" in said
    for words in commands:
        assert cli.build_parser().parse_args(words[2:]).call


@pytest.mark.slow
def test_the_example_of_a_method_runs_as_pasted(tmp_path: Path) -> None:
    text = section("Add a method")
    assert "Save this as `my_method.py`" in text
    checkout(tmp_path)
    (tmp_path / "my_method.py").write_text(block(text, "python"))
    environment = {key: value for key, value in os.environ.items() if key != "TERRABENCH_STORE"}
    done = subprocess.run(
        ["sh", "-e", "-c", block(text, "bash")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "EntMin" in done.stdout
    with (tmp_path / "results" / "my_suite" / "records.csv").open() as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"ERM", "EntMin"}
