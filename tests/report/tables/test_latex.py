"""Every table in LaTeX compiles as it is, whatever classes, methods and sources are called."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.report import records
from pipeline.report.tables import published_files
from pipeline.report.trainings import write_accuracies, write_published
from tests.report.report_samples import TASKS, make_row, make_suite

HOSTILE = r"A & B_<i> 50% $x$ #1 {y} ~z^2 \w |v| \input{none} “é”"

LABEL = HOSTILE.replace("\\", "")
"""A label has no backslash, because it becomes a part of file names."""


def write_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Tables of classes and of a published counterpart; one training failed, another is missing."""
    suite = make_suite(
        title=HOSTILE,
        metric="class_mean",
        selections=["last", "oracle"],
        methods=[{"name": "ERM", "label": LABEL}],
    )
    failed = {"status": "failed", "reason": HOSTILE, "accuracy": None, "per_class": []}
    cells = [(task, name, seed) for task in TASKS for name in ("none", "base", "terra") for seed in (0, 1)]
    rows = [
        make_row(*cell, 50.0 + place, selection=rule, method=LABEL) | (failed if place == 1 else {})
        for rule in suite.selections
        for place, cell in enumerate(cells[:-1])
    ]
    records.write(folder / "records.csv", rows)
    (folder / "published").mkdir()
    quoted, label = (text.replace('"', '""') for text in (HOSTILE, LABEL))
    (folder / "published" / "theirs.csv").write_text(
        "dataset,setting,method,backbone,task,accuracy,selection,source\n"
        f'digits,uda,"{label}",digits_cnn,{TASKS[0]},50,oracle,"{quoted}"\n'
    )
    monkeypatch.setattr(published_files, "files", lambda: [folder / "published" / "theirs.csv"])
    found = records.read(folder / "records.csv")
    written = write_accuracies(suite, TASKS, [HOSTILE, "$5"], found, folder)
    return written + write_published(suite, TASKS, found, folder)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX is installed")
def test_every_table_compiles(tmp_path, monkeypatch):
    tables = [path for path in write_all(tmp_path, monkeypatch) if path.suffix == ".tex"]
    assert [path.stem for path in tables] == [
        "accuracy_last",
        "classes_MN-to-MM_last",
        "classes_MN-to-UC_last",
        "accuracy_oracle",
        "classes_MN-to-MM_oracle",
        "classes_MN-to-UC_oracle",
        "published_oracle",
    ]
    inputs = "\n".join(f"\\input{{tables/{path.stem}}}" for path in tables)
    (tmp_path / "main.tex").write_text(
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs, graphicx}"
        f"\\begin{{document}}{inputs}\\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    if shutil.which("pdftotext"):
        said = subprocess.run(
            ["pdftotext", "main.pdf", "-"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert said.stdout.count("A & B_<i> 50% $x$ #1 {y}") > len(tables)
