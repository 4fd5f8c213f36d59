"""The command `predict`, on a training of small images in memory and on one of image files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.classify.training.stage import run
from pipeline.cli import main
from pipeline.data.image_sets import load_labelled, save_domain
from tests.classify.train_samples import CLASSES, domain, ignore, parameters

KEY = "0123abcd"


def trained(tmp_path: Path, **changes: object) -> tuple[list[str], Path, dict[str, int]]:
    """Train; return the options for its key, its folder, and the labels of the test images by file."""
    data, photos = tmp_path / "data", tmp_path / "photos"
    for folder in (data, photos):
        folder.mkdir()
    save_domain(data, "S", domain(64, False, 1))
    save_domain(data, "T", domain(60, True, 2))
    params = parameters(**changes)
    folder = tmp_path / "store" / "artifacts" / "train" / KEY
    run(params, {"data": data}, folder, ignore)
    (folder / "manifest.json").write_text(json.dumps({"params": params.model_dump(mode="json")}))
    target = load_labelled(data, "T", "test")
    assert target.labels is not None
    labels = {}
    for name, pixels, label in zip(target.names, target.images, target.labels, strict=True):
        Image.fromarray(pixels).save(photos / f"{name}.png")
        labels[str(photos / f"{name}.png")] = int(label)
    return ["--from", KEY, "--store", str(tmp_path / "store")], folder, labels


@pytest.mark.parametrize("changes", [{}, {"crop": "centre", "augment_shift": 0}])
def test_the_targets_test_split_gives_the_accuracy_of_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object]
) -> None:
    options, folder, labels = trained(tmp_path, **changes)
    to = tmp_path / "classes.csv"
    assert main(["predict", str(tmp_path / "photos"), *options, "--to", str(to)]) == 0
    table = pd.read_csv(to)
    assert list(table.columns) == ["image", "predicted", *CLASSES]
    right = [
        CLASSES[labels[image]] == name for image, name in zip(table["image"], table["predicted"], strict=True)
    ]
    (record,) = json.loads((folder / "records.json").read_text())
    assert 100 * float(np.mean(right)) == record["accuracy"]
    capsys.readouterr()
    assert main(["predict", *labels, "--from", str(folder), "--json", "--quiet"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["predicted"] for row in answer["images"]] == list(table["predicted"])
    assert sum(answer["images"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_images_that_cannot_be_read_are_named_and_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, _, labels = trained(tmp_path)
    broken = tmp_path / "photos" / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n")
    assert main(["predict", str(tmp_path / "photos"), *options]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 + len(labels)
    assert f"skipped 1 of {len(labels) + 1} images" in err
    assert str(broken) in err
    assert main(["predict", str(broken), *options]) == 2
    assert "none of the 1 images can be read" in capsys.readouterr().err


def test_mistakes_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, folder, labels = trained(tmp_path)
    image, empty = next(iter(labels)), tmp_path / "empty"
    empty.mkdir()
    (folder / "model.safetensors").unlink()
    cases = {
        "holds no image": [str(empty), *options],
        "there is no such file or folder": [str(tmp_path / "none.png"), *options],
        "set train.keep_weights: true": [image, *options],
        "no finished training of that key": [image, "--from", "89ef", *options[2:]],
        "ends in .csv or .json": [image, *options, "--to", "classes.txt"],
    }
    for sentence, arguments in cases.items():
        assert main(["predict", *arguments]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1
