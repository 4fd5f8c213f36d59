"""Classes of images by a training whose weights were kept."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.classify.prediction import load_classifier
from pipeline.core.errors import UserError
from pipeline.data.image_sets import load_unlabelled
from tests.classify.train_samples import CLASSES, parameters

Make = Callable[..., Path]


@pytest.fixture
def training(train: Make, prepared: Make) -> tuple[Path, np.ndarray]:
    """The artifact of a training, as a worker makes it, and the test images of its target."""
    data = prepared()
    folder = train({"data": data})
    manifest = {"params": parameters().model_dump(mode="json")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder, load_unlabelled(data, "T", "test").images


def test_predictions_are_those_that_the_training_recorded(
    training: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    folder, images = training
    classifier = load_classifier(folder)
    probabilities = classifier.probabilities(images)
    assert probabilities.shape == (len(images), len(CLASSES))
    recorded = np.load(folder / "predictions.npz")["last.predicted"]
    assert probabilities.argmax(dim=1).tolist() == recorded.tolist()
    paths = [tmp_path / f"{row}.png" for row in range(len(images))]
    for path, pixels in zip(paths, images, strict=True):
        Image.fromarray(pixels).save(path)
    assert classifier.probabilities(paths).equal(probabilities)
    assert classifier.probabilities([]).shape == (0, len(CLASSES))


@pytest.mark.parametrize("method", ["MDD", "MCD", "AFN"])
def test_the_layers_of_a_method_are_made_again(train: Make, prepared: Make, method: str) -> None:
    hyperparameters = {} if method == "AFN" else {"width": 8}
    choice = {"method": method, "hyperparameters": hyperparameters, "bottleneck": 6}
    folder = train({"data": (data := prepared())}, **choice)
    manifest = {"params": parameters(**choice).model_dump(mode="json")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    predicted = load_classifier(folder).probabilities(load_unlabelled(data, "T", "test").images)
    assert predicted.argmax(dim=1).tolist() == np.load(folder / "predictions.npz")["last.predicted"].tolist()


def test_the_layers_of_a_plugin_that_is_not_in_use_are_missed_in_words(train: Make, prepared: Make) -> None:
    choice = {"method": "MDD", "hyperparameters": {"width": 8}}
    folder = train({"data": prepared()}, **choice)
    manifest = {"params": parameters(**choice).model_dump(mode="json") | {"method": "Mine"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    words = "does not fit backbone digits_cnn, or the layers of method Mine, which is a plug-in not in use: "
    with pytest.raises(UserError, match=words):
        load_classifier(folder)


def test_what_cannot_be_predicted_is_refused(training: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    folder, images = training
    with pytest.raises(UserError, match="is not the artifact of a training"):
        load_classifier(tmp_path)
    with pytest.raises(UserError, match=r"expected pixels as uint8 \[n, height, width, 3\], not float64"):
        load_classifier(folder).probabilities(images / 255)
    with pytest.raises(UserError, match="cannot be read as an image"):
        load_classifier(folder).probabilities([tmp_path / "none.png"])
    weights = load_file(folder / "model.safetensors")
    weights["head.bias"][1] = torch.inf
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors: the tensor head.bias holds NaN or infinity"):
        load_classifier(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"set train\.keep_weights: true"):
        load_classifier(folder)
