"""A suite's whole report: which files there are, when they are drawn again, and that no torch is needed."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config import AdapterSpec
from pipeline.core.paths import ROOT
from pipeline.data.image_sets import DomainArrays, save_domain
from pipeline.report import records
from pipeline.report.artifacts import AdapterArtifacts, Artifacts, TaskArtifacts
from pipeline.report.plots.figures import list_figures
from pipeline.report.write import write_report
from tests.report.report_samples import CLASSES, make_row, make_suite, silent


@pytest.fixture
def artifacts(tmp_path, generate_artifact, features, losses) -> Artifacts:
    adapted, sources = generate_artifact("adapted", per_class=3)
    images = np.stack(list(sources.values()))
    labels, split = np.zeros(len(images), np.int64), np.zeros(len(images), np.uint8)
    save_domain(tmp_path / "data", "MN", DomainArrays(images, labels, split, np.array(list(sources))))
    made = {"adapted": adapted, "generated": generate_artifact("generated", per_class=2)[0]}
    task = TaskArtifacts(
        ("MN",),
        "MM",
        adapters={"terra": AdapterArtifacts(finetune=losses.parent, made=made)},
        trained={("ERM", "terra", 1): features.parent},
    )
    base = generate_artifact("base", per_class=2)[0]
    tasks = {"MN->MM": task, "MN->UC": TaskArtifacts(("MN",), "UC")}
    return Artifacts(classes=CLASSES, data=tmp_path / "data", base=base, tasks=tasks)


FILES = [
    "plots/accuracy_time.pdf",
    "plots/accuracy_time.png",
    "plots/classes_MN-to-MM.pdf",
    "plots/classes_MN-to-MM.png",
    "plots/classes_MN-to-UC.pdf",
    "plots/classes_MN-to-UC.png",
    "plots/contact_MN-to-MM_adapted.pdf",
    "plots/contact_MN-to-MM_adapted.png",
    "plots/contact_MN-to-MM_generated.pdf",
    "plots/contact_MN-to-MM_generated.png",
    "plots/contact_base.pdf",
    "plots/contact_base.png",
    "plots/distance.csv",
    "plots/distance.pdf",
    "plots/distance.png",
    "plots/loss_MN-to-MM.pdf",
    "plots/loss_MN-to-MM.png",
    "plots/tsne_MN-to-MM_ERM_terra.pdf",
    "plots/tsne_MN-to-MM_ERM_terra.png",
    "tables/accuracy_last.csv",
    "tables/accuracy_last.html",
    "tables/accuracy_last.md",
    "tables/accuracy_last.tex",
    "tables/statistics_last.csv",
    "tables/statistics_last.md",
]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_files_of_a_report(tmp_path, frame, artifacts):
    heard = []
    folder = tmp_path / "results"
    written = write_report(make_suite(), frame, artifacts, folder, lambda *said: heard.append(said))
    assert sorted(path.relative_to(folder).as_posix() for path in written) == FILES
    assert sorted(contents(folder)) == FILES
    assert heard[0] == (0, 9, "accuracy_time")
    assert len(heard) == 9


def test_where_the_mean_of_classes_counts_each_task_has_a_table_of_them(tmp_path, artifacts):
    shares = {0: [90.0, 10.0, math.nan, 50.0, 30.0], 1: [70.0, 30.0, math.nan, 50.0, 10.0]}
    suite = make_suite(metric="class_mean", augmentations=["none"])
    rows = [make_row("MN->UC", "none", seed, 1.0, per_class=each) for seed, each in shares.items()]
    records.write(tmp_path / "records.csv", rows)
    write_report(suite, records.read(tmp_path / "records.csv"), artifacts, tmp_path / "results", silent)
    folder = tmp_path / "results" / "tables"
    assert {path.stem for path in folder.iterdir()} == {
        "accuracy_last",
        "classes_MN-to-MM_last",
        "classes_MN-to-UC_last",
        "statistics_last",
    }
    table = pd.read_csv(folder / "classes_MN-to-UC_last.csv").loc[0]
    assert list(table[CLASSES].astype(float).round(6).fillna(-1)) == [80.0, 20.0, -1, 50.0, 20.0]
    assert table["Avg"] == 42.5
    assert table["Avg error"] == 2.5
    assert pd.read_csv(folder / "accuracy_last.csv").loc[0, "MN->UC"] == 42.5
    text = (folder / "classes_MN-to-UC_last.md").read_text()
    assert "| Method | zero | one | two | three | four | Avg |" in text
    assert "Small: MN→UC" in text
    assert "Target test accuracy of each class, and the mean over classes, in percent on digits" in text
    mean = (folder / "accuracy_last.md").read_text()
    assert "Mean of the classes' target test accuracies in percent on digits" in mean


def test_a_sweep_is_rows_of_its_own(tmp_path, artifacts):
    sweep = [
        {"name": "ELS", "label": f"ELS eps={eps}", "hyperparameters": {"eps": eps}} for eps in (0.0, 0.2)
    ]
    suite = make_suite(methods=sweep, augmentations=["none"], seeds=[0])
    rows = [
        make_row("MN->UC", "none", 0, 50.0 + place, method=spec["label"], per_class=[50.0] * 5)
        for place, spec in enumerate(sweep)
    ]
    records.write(tmp_path / "records.csv", rows)
    found = records.read(tmp_path / "records.csv")
    written = write_report(suite, found, artifacts, tmp_path / "results", silent)
    table = pd.read_csv(tmp_path / "results" / "tables" / "accuracy_last.csv")
    assert list(table["method"]) == ["ELS eps=0.0", "ELS eps=0.2"]
    assert list(table["MN->UC"]) == [50.0, 51.0]
    trained = replace(artifacts.tasks["MN->MM"], trained={("ELS eps=0.2", "none", 0): tmp_path / "trained"})
    pictures = list_figures(suite, found, replace(artifacts, tasks={"MN->MM": trained}))
    assert pictures[-1].name == "tsne_MN-to-MM_ELS-eps=0.2_none"
    assert all(" " not in path.name for path in written)


@pytest.mark.parametrize("augmentation", ["mix", "none"])
def test_distances_are_a_picture_if_a_training_has_a_mark_in_it(tmp_path, frame, artifacts, augmentation):
    """Of a part of a suite, trainings with images of an adapter of another name may be all that there are."""
    suite = make_suite(
        adapters={"mix": AdapterSpec(type="lora")}, augmentations=["none", "mix"], methods=["ERM"]
    )
    trained = replace(artifacts.tasks["MN->MM"], trained={("ERM", augmentation, 0): tmp_path / "trained"})
    names = [
        picture.name for picture in list_figures(suite, frame, replace(artifacts, tasks={"MN->MM": trained}))
    ]
    assert ("distance" in names) == (augmentation == "none")


def test_twice_gives_the_same_bytes_and_draws_only_what_changed(tmp_path, frame, artifacts):
    folder, suite = tmp_path / "results", make_suite()
    write_report(suite, frame, artifacts, folder, silent)
    before, plot = contents(folder), folder / "plots" / "contact_base.png"
    other = folder / "plots" / "loss_MN-to-MM.png"
    kept, lost = plot.stat().st_ino, other.unlink()
    write_report(suite, frame, artifacts, folder, silent)
    assert contents(folder) == before
    assert plot.stat().st_ino == kept
    assert lost is None
    remade = artifacts.base.rename(tmp_path / "another_key")
    write_report(suite, frame, replace(artifacts, base=remade), folder, silent)
    assert plot.stat().st_ino != kept


def test_nothing_made_yet(tmp_path, frame):
    tasks = {"MN->MM": TaskArtifacts(("MN",), "MM"), "MN->UC": TaskArtifacts("MN", "UC")}
    write_report(make_suite(), frame[:0], Artifacts(CLASSES, None, None, tasks), tmp_path / "results", silent)
    assert sorted(contents(tmp_path / "results")) == [name for name in FILES if name.startswith("tables")]


def test_no_torch_is_imported_and_letters_are_embedded(features):
    code = (
        "import sys; from pathlib import Path; from pipeline.report import records, write\n"
        "from pipeline.report.plots import tsne\n"
        f"pdf = tsne.draw(Path({str(features)!r}), {CLASSES!r}, ('MN', 'MM'), 'title')['.pdf']\n"
        "assert b'/CIDFontType2' in pdf and b'/Type3' not in pdf, 'letters have to stay letters'\n"
        "assert 'sklearn' in sys.modules\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
