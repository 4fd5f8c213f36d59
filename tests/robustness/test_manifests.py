"""Hostile manifests in a finished store: every command answers in time, and a run mends what is damaged."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline import cli
from pipeline.core.store import MANIFEST
from tests.execution.smoke import SUITE, check_same, copied
from tests.execution.warm import start
from tests.robustness.attacks import Attacks, sizes

pytestmark = pytest.mark.slow

COMMANDS = ("plan", "verify", "tables")
"""The commands that read manifests, and make no artifacts."""

VALUES: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\x1b[2J\n",
    "x" * 100_000,
    "../../outside",
    "\ud800",
    [],
    [[]] * 1000,
    {},
    {"": None},
    {"../../outside": ["0" * 64, 1, 1]},
    {"/etc/passwd": ["0" * 64, 1, 1]},
    {"a\0b": ["0" * 64, -1, 2**80]},
]
"""What a field, or the whole manifest, is replaced by."""

TEXTS: dict[str, Callable[[str], str]] = {
    "nothing": lambda text: "",
    "cut off": lambda text: text[: len(text) // 2],
    "deep": lambda text: "[" * 100_000,
    "deep objects": lambda text: '{"files":' * 50_000,
    "huge number": lambda text: text.replace('"seconds": ', '"seconds": ' + "9" * 5000, 1),
    "large": lambda text: text[:-1] + ', "more": [' + "0," * 2_000_000 + "0]}",
    "twice": lambda text: text * 2,
    "binary": lambda text: "\0" * 1000,
}
"""Whole texts instead of a manifest's."""


def make_pipe(path: Path) -> None:
    """Put a pipe in the place of a file."""
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    """Put a folder in the place of a file."""
    path.unlink()
    path.mkdir()


def make_link(target: str) -> Callable[[Path], None]:
    """Put a link in the place of a file."""

    def replace(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return replace


PLACES = [make_pipe, make_folder, make_link("/dev/zero"), make_link("nowhere"), make_link(MANIFEST)]
"""What is no file of its own in a manifest's place."""


def harm(path: Path, chance: Random) -> str:
    """Replace a manifest by a hostile one; return what was done."""
    way = chance.choice(["value", "field", "field", "text", "place", "bytes"])
    text = path.read_text()
    if way == "place":
        replace = chance.choice(PLACES)
        replace(path)
        return replace.__qualname__
    if way == "bytes":
        content = bytearray(text.encode())
        for _ in range(chance.randint(1, 20)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        return way
    if way == "text":
        name = chance.choice(list(TEXTS))
        path.write_text(TEXTS[name](text))
        return name
    value = chance.choice(VALUES)
    field = chance.choice(list(json.loads(text)))
    path.write_text(json.dumps(value if way == "value" else json.loads(text) | {field: value}))
    return f"{field if way == 'field' else 'all'}: {str(value)[:20]!r}"


def answers(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that a command ends with sentences, as far as it is not answered."""
    folders = ["--store", str(folder / "store"), "--results", str(folder / "results")]
    code = cli.main([command, SUITE, *folders])
    said = capsys.readouterr()
    assert code in (0, 1, 2)
    assert "Traceback" not in said.out + said.err
    assert "\x1b[2J" not in said.out + said.err
    assert max(map(len, said.err.splitlines()), default=0) < 2000


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the attacked one, in which nothing may appear."""
    folder = tmp_path / "around"
    folder.mkdir()
    yield folder
    assert {path.name for path in folder.iterdir()} <= {"run"}


@sizes(short=1, long=20)
def test_hostile_manifests_are_mended_by_the_next_run(
    attacks: Attacks,
    undisturbed: Path,
    outside: Path,
    capsys: pytest.CaptureFixture[str],
    count: int,
) -> None:
    """Each try replaces the manifests of all six trainings."""
    folder = outside / "run"

    def attempt(chance: Random) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        copied(undisturbed, folder)
        done = [harm(path, chance) for path in sorted(folder.glob(f"store/artifacts/train/*/{MANIFEST}"))]
        try:
            for command in COMMANDS:
                answers(command, folder, capsys)
            run = start(folder, SUITE)
            assert run.finish() == 0, run.err
            assert "Traceback" not in run.out + run.err, run.err
            check_same(undisturbed, folder)
        except Exception as error:
            error.add_note(f"manifests: {done}")
            raise

    attacks("hostile manifests, six at a time", count, attempt, seconds=240)
