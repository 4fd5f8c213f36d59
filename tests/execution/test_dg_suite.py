"""A small suite of setting dg through the whole command: plan, run, records, tables and pictures."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.core.paths import ROOT

pytestmark = pytest.mark.slow

CHANGES = {
    "name: digits_smoke": "name: small_dg",
    "setting: uda": "setting: dg",
    'tasks: ["MN->UC"]': 'tasks: ["->UC"]',
    "mix: {": "mix: {made_weight: 0.5, ",
    "methods: [ERM, MCC]": "methods: [GroupDRO, {name: SAGM, train: {averaging: swad}}]",
    "form: linear": "form: cosine, t_dim: 2",
    "\nfinetune:": (
        "\nt_predictor: {backbone: digits_cnn, pretrained: null, learning_rate: 0.001, epochs: 1}\nfinetune:"
    ),
    "  adapted: 40": "  grid: {range: [-1, 1], step: 0.5, points: 2, per_class: 1}",
    "iterations: 20": "iterations: 10",
    "batch_size: 16": "batch_size: 6",
    "evaluate_every: 10": "evaluate_every: 1",
}


def suite(folder: Path, changes: dict[str, str]) -> str:
    """The smoke suite with `changes`, as a file."""
    text = (ROOT / "benchmarks" / "digits_smoke.yaml").read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "small_dg.yaml").write_text(text)
    return str(folder / "small_dg.yaml")


def test_a_suite_that_holds_a_domain_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    command = ["run", suite(tmp_path, CHANGES), *folders, "--workers", "1", "--quiet"]
    assert main(command) == 0, capsys.readouterr().err
    results = tmp_path / "results" / "small_dg"
    table = pd.read_csv(results / "records.csv")
    assert len(table) == 2 * 3 * 3
    assert set(table["method"]) == {"GroupDRO", "SAGM+SWAD"}
    assert (set(table["task"]), set(table["setting"])) == ({"->UC"}, {"dg"})
    written = (results / "tables" / "accuracy_last.md").read_text()
    assert "→UC" in written
    assert "Missing" not in written
    assert "Left out" not in written
    assert "Test accuracy on the domain held out" in written
    assert {path.name for path in (results / "plots").glob("*.png")} >= {
        "contact_base.png",
        "contact_to-UC_interpolated.png",
        "loss_to-UC.png",
        "times_to-UC.png",
        *(f"tsne_to-UC_{method}_terra.png" for method in ("GroupDRO", "SAGM+SWAD")),
    }
    capsys.readouterr()
    assert main(["bench", "images", *command[1:-3]]) == 0
    assert "->UC" in capsys.readouterr().out


def test_a_method_that_needs_the_target_is_refused_before_work_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = CHANGES | {"methods: [ERM, MCC]": "methods: [ERM, MCC]"}
    assert main(["run", suite(tmp_path, changes), "--store", str(tmp_path / "store")]) == 2
    assert "method MCC adapts to the target's images, which setting dg holds out" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
