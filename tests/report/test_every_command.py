"""`run`, and then every command that reads a finished suite, on a tiny suite of each kind.

Suites on files are in tests/data/test_suites_on_files.py.
"""

from pathlib import Path

import pytest

from pipeline.cli import main
from tests.report.every_command import check_commands

pytestmark = pytest.mark.slow

UDA = """\
extends: digits_smoke
name: tiny_uda
augmentations: [none]
methods: [ERM]
seeds: [0]
train: {iterations: 2, evaluate_every: 1}
"""

MORPH = """\
extends: morph
name: tiny_morph
kinds: [images]
methods: [ddim, terra]
pairs: 1
frames: 3
morph: {tune_steps: 1, steps: 2, at_a_time: 3, perceptual: pixels}
distance: pixels
"""


@pytest.mark.parametrize("text", [UDA, MORPH], ids=["uda", "morph"])
def test_every_command_takes_a_suite_of_every_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    suite = tmp_path / "mine.yaml"
    suite.write_text(text)
    where = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    only = "method=ERM" if text is UDA else "kind=images,method=ddim"
    assert main(["run", str(suite), *where, "--quiet", "--only", only]) == 0
    assert main(["run", str(suite), *where, "--quiet"]) == 0
    check_commands(suite, tmp_path, capsys)
