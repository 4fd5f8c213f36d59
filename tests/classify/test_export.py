"""A classifier that was exported, loaded by timm and by the lines of its README."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from pipeline.classify.export import export_classifier
from pipeline.classify.prediction import load_classifier
from pipeline.cli import main
from pipeline.core.errors import UserError
from tests.classify.train_samples import CLASSES, parameters

Make = Callable[..., Path]

SMALL = {"backbone": "test_resnet.r160_in1k", "augment_shift": 0, "batch_size": 4, "iterations": 2}
WHOLE = {"crop": "centre", "image_size": 56}


@pytest.fixture
def trained(train: Make, prepared: Make) -> Callable[..., Path]:
    """Makes the artifact of a training."""

    def make(**choice: Any) -> Path:
        folder = train({"data": prepared()}, **choice)
        manifest = {"params": parameters(**choice).model_dump(mode="json")}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return make


def photo(path: Path) -> Path:
    """An image file that is not square."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((90, 60), Image.Resampling.BICUBIC).save(path)
    return path


def by_readme(folder: Path, image: Image.Image) -> torch.Tensor:
    """The probabilities that the code of the README computes."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"image": image}
    exec(code.replace("FOLDER", str(folder)), names)
    return names["probabilities"].detach()


@pytest.mark.parametrize(
    ("choice", "whole"),
    [
        ({"resample": "bicubic"}, True),
        ({"bottleneck": 8, "dropout": 0.3}, False),
        ({"method": "SHOT", "bottleneck": 8}, False),
        ({"method": "MDD", "hyperparameters": {"width": 8}, "bottleneck": 8}, False),
        ({"method": "AFN", "bottleneck": 8}, False),
    ],
    ids=["linear", "bottleneck", "SHOT", "MDD", "AFN"],
)
def test_it_predicts_what_predict_says(
    trained: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    choice: dict,
    whole: bool,
) -> None:
    training, folder = trained(**SMALL | WHOLE | choice), tmp_path / "exported"
    assert main(["export-classifier", str(training), "--to", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(folder), "whole": whole}
    about = json.loads((folder / "config.json").read_text())
    assert about["label_names"] == CLASSES
    assert about["num_classes"] == (len(CLASSES) if whole else 0)
    path = photo(tmp_path / "photo.png")
    expected = load_classifier(training).probabilities([path])
    found = by_readme(folder, Image.open(path).convert("RGB"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    if whole:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
        assert model.get_classifier().out_features == len(CLASSES)
    assert not list(tmp_path.glob(".exported*"))


def test_what_cannot_be_exported_is_refused(
    trained: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(training: Path, to: Path) -> str:
        assert main(["export-classifier", str(training), "--to", str(to)]) == 2
        return capsys.readouterr().err

    own = trained(iterations=2)
    assert "backbone digits_cnn is not one of timm; use `predict`" in told(own, tmp_path / "a")


def test_a_folder_that_exists_is_left(
    trained: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = trained(**SMALL | WHOLE)
    (tmp_path / "there").mkdir()
    assert main(["export-classifier", str(training), "--to", str(tmp_path / "there")]) == 2
    assert "there exists already; name another folder" in capsys.readouterr().err
    assert not list((tmp_path / "there").iterdir())


def test_a_layer_that_is_the_methods_own_is_named(trained: Callable[..., Path], tmp_path: Path) -> None:
    classifier = load_classifier(trained(**SMALL | WHOLE))
    classifier.network.head = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    with pytest.raises(UserError, match=r"^method ERM has a layer Tanh of its own, .*; use `predict`$"):
        export_classifier(classifier, tmp_path / "a")
    assert not (tmp_path / "a").exists()
