"""The table of what each augmentation costs and gives, from a store of made-up artifacts."""

import csv
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from pipeline import config
from pipeline.bench import augmentations
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.planning.graph import Plan, make_plan

SECONDS = {"prepare": 1.0, "finetune": 240.0, "generate": 100.0, "train": 20.0}


def the_plan() -> Plan:
    suite = config.read_suite("digits_adapters").model_copy(update={"seeds": [0]})
    return make_plan(suite, config.read_card("digits"), suite.base_model)


def fill(store: Store, job: Job, accuracy: float) -> None:
    """A finished artifact of `job`, as far as the table looks at it."""
    folder = store.workspace(job.kind, job.key)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    if job.kind == "finetune":
        save_file({"a.down": torch.zeros(2, 5), "a.up": torch.zeros(3, 2)}, folder / "adapter.safetensors")
    if job.kind == "train":
        result = {"selection": "last", "accuracy": accuracy, "per_class": [], "version": "0"}
        record = job.params.identity() | result
        (folder / "records.json").write_text(json.dumps([record]))
    store.commit(job.kind, job.key, {"seconds": SECONDS[job.kind]})


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    plan, store = the_plan(), Store(tmp_path)

    def assess(
        data: Path, target: str, sets: dict[str, Path], sources: tuple[str, ...], seed: int
    ) -> pd.DataFrame:
        names = [*sets, "source", "target test"]
        return pd.DataFrame({"set": names, "distance": [float(len(name)) for name in names]})

    monkeypatch.setattr(augmentations, "assess", assess)
    for job in plan.jobs:
        if job.kind != "train":
            fill(store, job, 0.0)
    for cell in plan.cells:
        if cell.method == "ERM":
            fill(store, cell.job, 50.0 + len(cell.augmentation))
    return augmentations.compare(plan, store)


def test_every_task_has_a_row_for_each_augmentation_with_its_costs(table: pd.DataFrame) -> None:
    assert table["task"].tolist() == [task for task in ("MN->MM", "MN->UC", "MN->SY") for _ in range(5)]
    assert table["augmentation"].tolist() == ["none", "base", "lora", "terra", "lorweb"] * 3
    assert table["ERM"].tolist() == [54.0, 54.0, 54.0, 55.0, 56.0] * 3
    assert table["MCC"].isna().all(), "nothing of it is finished"
    made = table[table["augmentation"].isin(["lora", "terra", "lorweb"])]
    assert (made["parameters"] == 16).all()
    assert (made["train_s"] == 240).all()
    assert (made["make_s"] == 100).all()
    assert (made["adapted"] == made["augmentation"].str.len() + len(" adapted")).all()
    others = table[~table.index.isin(made.index)]
    assert others[["parameters", "train_s", "make_s", "adapted"]].isna().all().all()


def test_the_pair_that_no_analogy_was_of_is_marked(table: pd.DataFrame) -> None:
    marked = table[table["held_out"] == "yes"]
    assert marked[["task", "augmentation"]].to_numpy().tolist() == [["MN->SY", "lorweb"]]


def test_it_can_be_shown(table: pd.DataFrame) -> None:
    lines = augmentations.as_markdown(table).splitlines()
    assert len(lines) == 2 + len(table)
    assert lines[0].startswith("| task | augmentation | held\\_out | ERM | MCC | parameters |")
    assert "| MN-\\>SY | lorweb | yes | 56.0 |  | 16 | 240 | 100 |" in lines[-1]
    assert json.loads(augmentations.as_json(table))[0]["MCC"] is None


def test_nothing_made_is_an_empty_table(tmp_path: Path) -> None:
    assert augmentations.compare(the_plan(), Store(tmp_path)).empty


def test_names_break_neither_the_table_nor_a_spreadsheet(table: pd.DataFrame, tmp_path: Path) -> None:
    hostile = table.rename(columns={"ERM": "=E|RM"}).assign(augmentation="@a|b\x1b")
    augmentations.write(hostile, tmp_path)
    lines = (tmp_path / "tables" / "augmentations.md").read_text().splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    cells = [*csv.reader((tmp_path / "tables" / "augmentations.csv").open())]
    assert "'=E|RM" in cells[0]
    assert cells[1][1] == "'@a|b\x1b"
