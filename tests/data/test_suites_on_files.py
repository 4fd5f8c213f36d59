"""The suites of real datasets, complete, on folders with their layout: tiny images, models and budgets.

Sizes, steps and all that needs a GPU are smaller than in benchmarks/NAME.yaml; tasks, methods, prompts,
guidance scale, augmentations and selections are the suite's own.
"""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import config
from pipeline.cli import main
from pipeline.config import MethodSpec, Suite, read_card, read_suite
from pipeline.core.job import Job
from pipeline.core.paths import ROOT
from pipeline.core.store import Store
from pipeline.data.image_sets import save_files
from pipeline.data.sources.importer import import_folder
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune import domain_data
from pipeline.diffusion.finetune import stage as finetune
from pipeline.execution.worker import make_artifact
from pipeline.planning.graph import Plan, make_plan
from pipeline.report.collect import gather
from pipeline.report.trainings import write_accuracies
from tests.clip_folders import save_clip
from tests.data.layout_samples import OFFICE_HOME, PACS, VISDA, write_folders
from tests.report.every_command import check_commands

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("data_root", "cache_root"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # other counts than the card's
]

PER_CLASS = 2
STAGES_ONE_AND_TWO = {
    "finetune": {
        "steps": 1,
        "batch_size": 2,
        "precision": "fp32",
        "gradient_checkpointing": False,
        "gradient_accumulation": 1,
        "compile": False,
        "optimizer": "adamw",
        "validate_every": 1,
        "validation": {"classes": 1, "steps": 1},
    },
    "t_predictor": {"backbone": "digits_cnn", "pretrained": None, "epochs": 1},
    "adapter": {"rank": 2, "alpha": 2},
}
GENERATE = {
    "steps": 1,
    "batch_size": 130,
    "precision": "fp32",
    "compile": False,
    "save_size": 12,
    "generated": 1,
}
TRAIN = {"backbone": "digits_cnn", "pretrained": None, "precision": "fp32", "batch_size": 4, "workers": 0}


def quiet(*args: object) -> None:
    """Says nothing."""


@pytest.fixture(autouse=True)
def cards_of_small_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards for images of 32 pixels in the current folder, where they hide those of the project."""
    (tmp_path / "datasets").mkdir()
    for name in ("office_home", "pacs", "visda2017"):
        text = (ROOT / "datasets" / f"{name}.yaml").read_text()
        small_text, changes = re.subn(r"(?m)^image_size: \d+", "image_size: 32", text)
        assert changes == 1
        (tmp_path / "datasets" / f"{name}.yaml").write_text(small_text)
    monkeypatch.chdir(tmp_path)


def smaller(method: MethodSpec, train: dict[str, Any]) -> dict[str, Any]:
    """`method` with fewer iterations, images and channels, and the settings `train`."""
    if method.zero_shot:
        return {"name": method.name, "hyperparameters": {"model": str(save_clip(Path("clip").resolve(), 77))}}
    widths = {"MDD": {"width": 8}} | {name: {"hidden": 8} for name in ("DANN", "CDAN", "SDAT", "ELS")}
    steps = {"iterations": 9 if method.train.get("averaging") == "swad" else 1, "evaluate_every": 1}
    bottleneck = {"bottleneck": 8} if method.train.get("bottleneck") else {}
    return method.model_dump(exclude_unset=True) | {
        "hyperparameters": method.hyperparameters | widths.get(method.name, {}),
        "train": method.train | TRAIN | steps | bottleneck | train,
    }


def small(
    name: str, folder: Path, base_model: Path, resolution: int, train: dict[str, Any], **changes: object
) -> Path:
    """A suite that extends `name`, in `folder`, with settings of stage three and `changes` of its own."""
    suite = read_suite(name)
    generate = GENERATE
    if suite.setting == "dg":
        generate = GENERATE | {"grid": {"points": 2, "per_class": 1}}
    elif suite.generate.flow is not None:
        generate = GENERATE | {"flow": {"examples": 1}}
    if suite.generate.adapted is not None:
        generate = generate | {"adapted": len(read_card(suite.dataset).classes)}
    told = STAGES_ONE_AND_TWO | {
        "extends": str(ROOT / "benchmarks" / f"{name}.yaml"),
        "base_model": {"name": str(base_model), "resolution": resolution, "vae": None},
        "generate": generate,
        "methods": [smaller(method, train) for method in suite.methods],
        "train": TRAIN
        | {"bottleneck": suite.train.bottleneck and 8, "iterations": 1, "evaluate_every": 1}
        | train,
        "seeds": suite.seeds[:1],
    }
    file = folder / f"{name}_small.yaml"
    file.write_text(yaml.safe_dump(told | changes))
    return file


class Ran:
    """A suite that was made job by job in this process."""

    def __init__(
        self,
        name: str,
        layout: Path,
        folder: Path,
        base_model: Path,
        resolution: int = 16,
        train: dict[str, Any] | None = None,
        **changes: object,
    ) -> None:
        import_folder(read_card(read_suite(name).dataset), layout, quiet)
        self.suite = read_suite(small(name, folder, base_model, resolution, train or {}, **changes))
        card = config.resolve_card(read_card(self.suite.dataset))
        self.plan: Plan = make_plan(self.suite, card, config.resolve_base_model(self.suite.base_model))
        self.store, self.results = Store(folder / "store"), folder / "results" / self.suite.name
        for job in self.plan.jobs:
            make_artifact(job, self.store, quiet)
        recorded, said = gather(self.plan, self.store, self.results / "records.csv")
        assert recorded is not None
        assert said == []
        write_accuracies(self.suite, list(self.plan.tasks), card.classes, recorded, self.results)
        self.records: pd.DataFrame = recorded

    def jobs(self, kind: str) -> list[Job]:
        return [job for job in self.plan.jobs if job.kind == kind]

    def folder(self, job: Job) -> Path:
        return self.store.path(job.kind, job.key)

    def table(self, name: str) -> str:
        return (self.results / "tables" / name).read_text()

    def made(self, contents: str) -> list[Counter[int]]:
        """How many images of each class every set of that contents holds, all of which are there."""
        counts = []
        for job in self.jobs("interpolate" if contents == "interpolated" else "generate"):
            if contents in ("interpolated", getattr(job.params, "contents", None)):
                manifest = pd.read_csv(self.folder(job) / "manifest.csv")
                assert all((self.folder(job) / file).is_file() for file in manifest["file"])
                counts.append(Counter(manifest["label"].tolist()))
        return counts


def cells(suite: Suite, tasks: list[str]) -> set[tuple[str, ...]]:
    """What records are to tell."""
    return {
        (task, suite.label(method), augmentation, selection)
        for task in tasks
        for method in suite.methods
        for augmentation in suite.augmentations_of(method)
        for selection in suite.selections
    }


def recorded(records: pd.DataFrame) -> set[tuple[str, ...]]:
    assert records["accuracy"].between(0, 100).all()
    return set(records[["task", "method", "augmentation", "selection"]].itertuples(index=False, name=None))


@pytest.fixture
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where images decoded once are put."""
    monkeypatch.setenv("TERRABENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What text encoders were given, in order."""
    seen: list[str] = []
    embed = BaseModel.embed
    monkeypatch.setattr(BaseModel, "embed", lambda self, given: seen.extend(given) or embed(self, given))
    return seen


def test_office_home(
    tmp_path: Path, sdxl_folder: Path, prompts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled: list[str] = []
    load = domain_data.load_labelled
    monkeypatch.setattr(
        domain_data,
        "load_labelled",
        lambda data, domain, split: labelled.append(domain) or load(data, domain, split),
    )
    card = read_card("office_home")
    layout = write_folders(tmp_path / "OfficeHomeDataset_10072016", card, OFFICE_HOME, PER_CLASS)
    ran = Ran("office_home", layout, tmp_path, sdxl_folder)
    tasks = [f"{source}->{target}" for source in OFFICE_HOME for target in OFFICE_HOME if source != target]
    assert len(tasks) == 12
    assert list(ran.plan.tasks) == tasks

    methods = {"ERM", "DANN", "CDAN", "MDD", "MCC", "SDAT", "ELS"}
    assert recorded(ran.records) == cells(ran.suite, tasks)
    assert set(ran.records["method"]) == methods
    assert set(ran.records["augmentation"]) == {"none", "terra"}
    assert set(ran.records["selection"]) == {"last", "source", "unsupervised", "oracle"}
    table = ran.table("accuracy_last.md")
    assert all(task.replace("->", "→") in table for task in tasks)
    assert "Missing" not in table

    assert ran.made("adapted") == 12 * [Counter(dict.fromkeys(range(65), PER_CLASS))]
    assert ran.made("generated") == 12 * [Counter(dict.fromkeys(range(65), 1))]
    assert set(prompts) == {f"A {card.word(label)}" for label in range(65)} | {"An image", ""}
    assert {"A computer mouse", "A marker pen", "A alarm clock", "A tv", "A postit notes"} < set(prompts)
    assert not {"A mouse", "A marker"} & set(prompts)

    tuned = ran.jobs("finetune")
    assert labelled == [job.params.pair.source for job in tuned], "the source's labels alone"
    assert all((ran.folder(job) / "validation" / "000001.png").is_file() for job in tuned)
    for job in tuned:
        about = json.loads((ran.folder(job) / "validation" / "about.json").read_text())
        assert about == {"columns": ["A alarm clock"], "rows": [[0.0], [0.5], [1.0]]}
    check_that_target_labels_do_not_matter(ran, tuned[0], tmp_path)


def check_that_target_labels_do_not_matter(ran: Ran, job: Job, folder: Path) -> None:
    """Fine-tuning again with all images of the target of one class makes the same bytes."""
    data = folder / "relabelled"
    shutil.copytree(ran.folder(job.inputs["data"]), data)
    target = job.params.pair.target
    listed = {name: np.load(data / f"{target}.{name}.npy") for name in ("labels", "split", "names")}
    assert set(listed["labels"]) == set(range(65))
    save_files(data, target, ran.plan.card, listed | {"labels": np.zeros_like(listed["labels"])})
    finetune.run(job.params, {"data": data}, folder / "again", quiet)
    name = "adapter.safetensors"
    assert (folder / "again" / name).read_bytes() == (ran.folder(job) / name).read_bytes()


def test_visda2017(
    tmp_path: Path, sdxl_folder: Path, prompts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As its archives are: a folder for each class, and the list of all images."""
    card, layout = read_card("visda2017"), tmp_path / "visda"
    write_folders(layout, card, VISDA, PER_CLASS)
    for part in VISDA.values():
        lines = [
            f"{path.parent.name}/{path.name} {card.classes.index(path.parent.name)}"
            for path in sorted((layout / part).rglob("*.jpg"))
        ]
        (layout / part / "image_list.txt").write_text("\n".join(lines) + "\n")
    ran = Ran("visda2017", layout, tmp_path, sdxl_folder)
    assert recorded(ran.records) == cells(ran.suite, ["S->R"])
    assert len(ran.suite.methods) == 7
    assert ran.suite.metric == "class_mean"
    assert ran.made("adapted") == ran.made("generated") == [Counter(range(12))]
    assert set(prompts) == {f"A {name}" for name in card.classes} | {"An image", ""}
    of_last = ran.records[ran.records["selection"] == "last"]
    means = [sum(each) / 12 for each in of_last["per_class"]]
    assert of_last["accuracy"].tolist() == pytest.approx(means), "as many images of each class here"
    classes = [path.read_text() for path in (ran.results / "tables").glob("*class*.md")]
    assert classes
    assert all("skateboard" in text for text in classes)
    check_commands(tmp_path / "visda2017_small.yaml", tmp_path, capsys)


def test_pacs(
    tmp_path: Path, sdxl_folder: Path, prompts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    card = read_card("pacs")
    ran = Ran("pacs", write_folders(tmp_path / "PACS", card, PACS, 5), tmp_path, sdxl_folder)
    tasks = ["->P", "->A", "->C", "->S"]
    assert recorded(ran.records) == cells(ran.suite, tasks)
    assert set(ran.records["method"]) == {"ERM", "SWAD", "MIRO", "SAGM"}
    for job in ran.jobs("finetune"):
        assert len(job.params.domains.sources) == 3
        curve = pd.read_csv(ran.folder(job) / "losses.csv")
        assert list(curve.columns) == ["step", "loss", "pooled_loss"]
    assert {frozenset(job.params.domains.sources) for job in ran.jobs("finetune")} == {
        frozenset(PACS) - {held_out} for held_out in PACS
    }
    # Two points of the grid, which needs no t-predictor that tells domains apart.
    assert ran.made("interpolated") == 4 * [Counter(2 * list(range(7)))]
    assert set(prompts) == {f"A {name}" for name in card.classes} | {"An image", ""}
    assert all(f"→{domain}" in ran.table("accuracy_last.md") for domain in PACS)
    check_commands(tmp_path / "pacs_small.yaml", tmp_path, capsys)


def test_the_quick_suite_of_office_home(tmp_path: Path, sd15_folder: Path) -> None:
    """Art and clipart alone are enough; controls, adapted and generated images, and weights that are kept."""
    card = read_card("office_home")
    layout = write_folders(tmp_path / "OfficeHome", card, {"Ar": "Art", "Cl": "Clipart"}, 1)
    ran = Ran("office_home_quick", layout, tmp_path, sd15_folder, resolution=64)
    tasks = ["Ar->Cl", "Cl->Ar"]
    assert recorded(ran.records) == cells(ran.suite, tasks)
    assert set(ran.records["method"]) == {"ERM", "MCC"}
    assert set(ran.records["augmentation"]) == {"none", "base", "terra"}
    assert ran.made("adapted") == ran.made("generated") == 2 * [Counter(range(65))]
    assert all((ran.folder(job) / "model.safetensors").is_file() for job in ran.jobs("train"))
    generated = ran.folder(ran.jobs("generate")[0]) / "images"
    assert {path.suffix for path in generated.iterdir()} == {".webp"}
    assert "Missing" not in ran.table("accuracy_last.md")


def test_the_suite_of_vision_transformers(tmp_path: Path, sd15_folder: Path) -> None:
    """Each method with a small vision transformer, whose position embeddings fit the small images."""
    card = read_card("office_home")
    layout = write_folders(tmp_path / "OfficeHome", card, {"Ar": "Art", "Cl": "Clipart"}, 1)
    vit = {"backbone": "test_vit", "resample_positions": True}
    ran = Ran("office_home_vit", layout, tmp_path, sd15_folder, 64, train=vit, tasks=["Ar->Cl"])
    assert recorded(ran.records) == cells(ran.suite, ["Ar->Cl"])
    assert set(ran.records["backbone"]) == {"test_vit", str(tmp_path / "clip")}
    assert set(ran.records["method"]) == {"ERM", "CDAN", "MCC", "SDAT", "ELS", "CLIP zero-shot"}
    assert "Missing" not in ran.table("accuracy_last.md")


def test_a_suite_for_gpus_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.core.hardware.gpus", lambda: ())
    folders = ["--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    assert main(["run", "office_home", *folders, "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "need a GPU" in said
    assert "--cpu" in said
    assert "mini" in said
    assert not list((tmp_path / "store").rglob("manifest.json"))
