"""Stage three on datasets of files: a training on each layout ends with a record."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.classify.training.stage import run
from pipeline.config import TrainSettings, read_card, resolve_card
from pipeline.data import prepare
from pipeline.data.sources.importer import import_folder
from pipeline.planning.kinds.prepare import PrepareParams
from pipeline.planning.kinds.train import TrainParams
from tests.data.layout_samples import PACS, VISDA, office_home, write_folders

pytestmark = [pytest.mark.usefixtures("data_root"), pytest.mark.filterwarnings("ignore::UserWarning")]

SETTINGS = TrainSettings(
    backbone="digits_cnn",
    iterations=2,
    batch_size=8,
    crop="random_resized",
    flip=True,
    workers=1,
    holdout=0.2,
)


def quiet(*args: object) -> None:
    """Says nothing."""


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("office_home", {"sources": ["Ar"], "target": "Rw", "method": "DANN"}),
        ("visda2017", {"sources": ["S"], "target": "R", "method": "MCC"}),
        ("pacs", {"sources": ["P", "A", "C"], "target": "S", "method": "ERM", "setting": "dg"}),
    ],
)
def test_a_training_on_each_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, about: dict[str, Any]
) -> None:
    monkeypatch.setenv("TERRABENCH_CACHE", str(tmp_path / "cache"))
    card, source = read_card(name), tmp_path / "source"
    if name == "office_home":
        office_home(source)
    else:
        write_folders(source, card, PACS if name == "pacs" else VISDA)
    (source / next(source.iterdir()).name / card.classes[0] / "bad.jpg").write_bytes(b"no image")
    import_folder(card, source, quiet)
    data, workspace = tmp_path / "data_artifact", tmp_path / "training"
    data.mkdir()
    prepare.run(PrepareParams(card=resolve_card(card)), {}, data, quiet)
    assert len((data / "report.csv").read_text().splitlines()) == 2
    params = {
        "dataset": name,
        "setting": "uda",
        "classes": card.classes,
        "image_size": 32,
        "hyperparameters": {},
        "augmentation": "none",
        "made_fraction": None,
        "made_weight": 1.0,
        "selections": ["last"],
        "seed": 0,
        "threads": 1,
        "settings": SETTINGS,
    }
    run(TrainParams(**params | about), {"data": data}, workspace, quiet)
    (record,) = json.loads((workspace / "records.json").read_text())
    assert len(record["per_class"]) == len(card.classes)
    assert 0 <= record["accuracy"] <= 100
