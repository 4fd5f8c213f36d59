"""What commands print: no text of a file controls the terminal, and nothing else mixes with the answer."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.cli import parser, terminal
from pipeline.core.paths import ROOT

ESCAPES = "\x1b[2Jwiped\x07\x9b31m\u202egnp"
LINES = f"{ESCAPES}\nerror: not mine"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a card and a suite whose texts try to control the terminal."""
    card = yaml.safe_load((ROOT / "datasets" / "pacs.yaml").read_text())
    domains = {short: domain | {"about": LINES, "name": LINES} for short, domain in card["domains"].items()}
    source = {"by": LINES, "page": LINES, "steps": LINES}
    texts = {"title": LINES, "licence": LINES, "citation": ESCAPES, "prompt_words": {"dog": LINES}}
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "mine.yaml").write_text(
        yaml.safe_dump(card | texts | {"name": "mine", "domains": domains, "sources": [source]})
    )
    (tmp_path / "suite.yaml").write_text(
        yaml.safe_dump({"extends": "digits_smoke", "name": "mine", "title": LINES})
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        "datasets list",
        "datasets list --json",
        "datasets show mine",
        "datasets show mine --json",
        "datasets fetch mine",
        "datasets verify mine",
        f"datasets show {ESCAPES}",
        f"datasets import mine {ESCAPES}",
        "validate datasets/mine.yaml",
        f"validate {ESCAPES}.yaml",
        "plan suite.yaml",
        "plan suite.yaml --json",
        "tables suite.yaml",
        "verify suite.yaml",
        "doctor suite.yaml",
        f"run {ESCAPES}",
        f"report {ESCAPES}",
        f"export results --to {ESCAPES}",
        f"methods --plugin {ESCAPES}.py",
    ],
)
def test_texts_of_files_do_not_control_the_terminal(
    folder: Path, data_root: Path, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *rest = arguments.split(" ")
    folders = ["--store", str(folder / "store")] if command in ("plan", "tables", "verify", "doctor") else []
    folders += ["--results", str(folder / "results")] if command in ("plan", "tables", "verify") else []
    parser.main([command, *rest, *folders])
    printed = "".join(capsys.readouterr())
    assert printed
    assert not {character for character in printed if not character.isprintable()} - {"\n"}
    assert "\nerror: not mine" not in printed


def test_what_others_print_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with terminal.claim_stdout():
        print("a plug-in's line")
        terminal.say_json({"answer": "\x7f\x1b"})
    assert sys.stdout is before
    out, err = capsys.readouterr()
    assert json.loads(out) == {"answer": "\x7f\x1b"}
    assert out.isascii()
    assert "\x7f" not in out
    assert err == "a plug-in's line\n"


def test_a_current_folder_that_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert parser.main(["plan", "digits_smoke"]) == 2
    assert capsys.readouterr().err == ("error: the current folder was removed; change to one that exists\n")
