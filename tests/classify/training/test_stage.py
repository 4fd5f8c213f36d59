"""The `train` stage on tiny domains: what it writes, and what may and may not change it."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from pipeline.classify import registry
from pipeline.classify.evaluation.selection import score, select
from pipeline.classify.training import loop
from pipeline.classify.training import stage as train_stage
from pipeline.classify.training.stage import run
from pipeline.core.errors import UserError
from tests.classify.train_samples import (
    CLASSES,
    Killed,
    ignore,
    killed_after,
    killed_and_resumed,
    parameters,
    products,
)

Make = Callable[..., Path]

LAYERS = ("hidden", "width")
"""Hyper-parameters that are narrower here than by default, to save time."""


def records(workspace: Path) -> list[dict]:
    return json.loads((workspace / "records.json").read_text())


def test_what_is_written(train: Make, prepared: Make, generated: Make) -> None:
    inputs = {
        "data": prepared(),
        "adapted": generated("adapted"),
        "generated": generated("generated", each=60),
    }
    workspace = train(
        inputs, augmentation="terra", method="MCC", selections=["last", "source", "oracle"], seed=5
    )
    assert list(products(workspace)) == [
        "features.npz",
        "history.csv",
        "model.safetensors",
        "predictions.npz",
        "records.json",
    ]
    for record, selection in zip(records(workspace), ["last", "source", "oracle"], strict=True):
        assert record == record | {
            "dataset": "bars",
            "setting": "uda",
            "task": "S->T",
            "method": "MCC",
            "augmentation": "terra",
            "backbone": "digits_cnn",
            "seed": 5,
            "selection": selection,
        }
        assert record["accuracy"] == pytest.approx(np.mean(record["per_class"]))
        assert record["library"] == ""
        assert len(record["per_class"]) == len(CLASSES)
    rows = list(csv.DictReader(io.StringIO((workspace / "history.csv").read_text())))
    assert list(rows[0]) == ["iteration", "task", "confusion", "source_accuracy"]
    assert [int(row["iteration"]) for row in rows] == list(range(1, 13))
    with np.load(workspace / "predictions.npz", allow_pickle=False) as arrays:
        for record in records(workspace):
            right = arrays["labels"] == arrays[f"{record['selection']}.predicted"]
            assert record["accuracy"] == pytest.approx(100 * right.mean())
    with np.load(workspace / "features.npz", allow_pickle=False) as arrays:
        shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes == {
        "source.features": (48, 128),
        "source.labels": (48,),
        "target.features": (15, 128),
        "target.labels": (15,),
        "adapted.features": (18, 128),
        "adapted.labels": (18,),
        "generated.features": (150, 128),
        "generated.labels": (150,),
    }


def test_it_learns(train: Make, prepared: Make) -> None:
    workspace = train({"data": prepared()}, iterations=60, checkpoint_every=50)
    rows = list(csv.DictReader(io.StringIO((workspace / "history.csv").read_text())))
    assert float(rows[-1]["source_accuracy"]) == 100
    assert [row["source_accuracy"] for row in rows[:-1]] == [""] * (
        len(rows) - 1
    )  # evaluated at the end alone


@pytest.mark.parametrize("method", ["ERM", "MCC"])
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(
    train: Make, prepared: Make, method: str
) -> None:
    inputs = {"data": prepared()}
    first, again, other = (products(train(inputs, method=method, seed=seed)) for seed in (3, 3, 4))
    assert first == again
    assert first["model.safetensors"] != other["model.safetensors"]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_killed_and_run_again_gives_the_same_bytes(
    tmp_path: Path, train: Make, prepared: Make, generated: Make, optimizer: str
) -> None:
    inputs = {"data": prepared(), "adapted": generated("adapted"), "generated": generated("generated")}
    choice = {
        "method": "MCC",
        "augmentation": "terra",
        "made_fraction": 0.3,
        "optimizer": optimizer,
        "evaluate_every": 3,
        "selections": ["last", "source", "oracle"],
        "iterations": 17,
    }
    whole = products(train(inputs, **choice))
    workspace = tmp_path / "killed"
    starts = []
    for steps in (3, 8, 14):
        with pytest.raises(Killed):
            run(parameters(**choice), inputs, workspace, killed_after(steps))
    run(parameters(**choice), inputs, workspace, lambda done, total, what: starts.append(done))
    assert starts[0] == 11  # the first step after the last checkpoint before 14
    assert products(workspace) == whole


def test_with_crops_workers_and_kills_change_no_byte(
    tmp_path: Path, train: Make, prepared: Make, generated: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crops are taken of the files of made images, which come into the cache; SDAT asks twice for a batch."""
    monkeypatch.setenv("TERRABENCH_CACHE", str(tmp_path / "cache"))
    inputs = {"data": prepared(), "adapted": generated("adapted")}
    choice = {
        "method": "SDAT",
        "hyperparameters": {"hidden": 8},
        "augmentation": "terra",
        "made_fraction": 0.5,
        "crop": "random_resized",
        "flip": True,
        "augment_shift": 0,
    }
    one, two = (products(train(inputs, workers=workers, **choice)) for workers in (1, 2))
    assert one == two == products(train(inputs, **choice))
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 6 * len(CLASSES)
    with pytest.raises(Killed):
        run(parameters(workers=2, **choice), inputs, tmp_path / "killed", killed_after(8))
    run(parameters(workers=1, **choice), inputs, tmp_path / "killed", ignore)
    assert products(tmp_path / "killed") == one


@pytest.mark.parametrize("method", ["DANN", "SDAT"])
def test_discriminators_and_their_warm_start_go_on_after_a_kill(
    tmp_path: Path, train: Make, prepared: Make, method: str
) -> None:
    inputs = {"data": prepared()}
    choice = {"method": method, "hyperparameters": {"hidden": 8}, "optimizer": "sgd", "learning_rate": 0.05}
    assert killed_and_resumed(choice, inputs, tmp_path / "killed", 8) == products(train(inputs, **choice))


def test_erm_ignores_the_target_and_mcc_does_not(train: Make, prepared: Make) -> None:
    one, other = prepared("one", target_seed=2), prepared("other", target_seed=3)
    weights = {
        method: [products(train({"data": data}, method=method))["model.safetensors"] for data in (one, other)]
        for method in ("ERM", "MCC")
    }
    assert weights["ERM"][0] == weights["ERM"][1]
    assert weights["MCC"][0] != weights["MCC"][1]


UDA = [name for name, declared in registry.declarations().items() if not declared.needs_domains]


@pytest.mark.parametrize("method", UDA)
def test_garbage_target_labels_change_accuracies_alone(
    train: Make, prepared: Make, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    layers = {name: 8 for name in registry.declarations()[method].hyperparameters if name in LAYERS}
    choice = {
        "method": method,
        "hyperparameters": layers,
        "iterations": 3,
        "evaluate_every": 1,
        "selections": ["last", "source", "unsupervised", "oracle"],
    }
    trained, original = [], train_stage.target_predictions
    monkeypatch.setattr(
        train_stage, "target_predictions", lambda *given: trained.append(given) or original(*given)
    )
    right, wrong = (
        train({"data": prepared(name, garbage_labels=garbage)}, **choice)
        for name, garbage in (("right", False), ("wrong", True))
    )
    # What was selected with garbage for labels, and is measured by the right ones, has the right numbers.
    (*_, evaluations), classes = trained[1], len(CLASSES)
    labels, garbage = (given[0].labels for given in trained)
    assert not np.array_equal(labels, garbage)
    for record in records(right):
        if record["selection"] != "oracle":
            taken = select(record["selection"], evaluations, trained[1][0])
            assert score(taken.predictions, labels, classes).accuracy == record["accuracy"]
    for file in ("history.csv", "model.safetensors"):
        assert products(right)[file] == products(wrong)[file]
    with np.load(right / "features.npz") as some, np.load(wrong / "features.npz") as others:
        differing = [name for name in some if not np.array_equal(some[name], others[name])]
    assert differing == ["target.labels"]  # kept for the picture
    for one, other in zip(records(right), records(wrong), strict=True):
        assert {name for name in one if one[name] != other[name]} <= {"accuracy", "per_class"}


def test_the_labels_of_the_target_are_not_opened_before_training_is_over(train: Make, prepared: Make) -> None:
    data = prepared()
    (data / "T.labels.npy").unlink()
    seen = []
    with pytest.raises(UserError, match=r"T\.labels\.npy"):
        train({"data": data}, progress=lambda done, total, what: seen.append(done), method="MCC")
    assert seen[-1] == 12


def test_selections_change_no_training(train: Make, prepared: Make) -> None:
    data = {"data": prepared()}
    alone, all_three = (train(data, selections=names) for names in (["last"], ["oracle", "last", "source"]))
    assert products(alone)["model.safetensors"] == products(all_three)["model.safetensors"]
    assert records(alone)[0] == next(one for one in records(all_three) if one["selection"] == "last")


def test_a_loss_that_is_no_number_stops_with_step_and_method(
    tmp_path: Path, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop.Loop._forward

    def poisoned(self: loop.Loop, *batch: loop.Tensor) -> loop.Step:
        if self.done == 7:
            with loop.torch.no_grad():
                self.network.head.bias.fill_(float("nan"))
        return original(self, *batch)

    monkeypatch.setattr(loop.Loop, "_forward", poisoned)
    with pytest.raises(loop.Diverged, match=r"method MCC: the loss became nan at step 8 of 12;.*is kept"):
        run(parameters(method="MCC"), {"data": prepared()}, tmp_path / "w", ignore)
    assert (tmp_path / "w/scratch/checkpoint.pt").exists()
    assert not (tmp_path / "w/records.json").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "DANNN"}, "there is no method 'DANNN'.*did you mean 'DANN'"),
        ({"method": "MCC", "hyperparameters": {"tau": 1.0}}, "takes no hyper-parameter 'tau'"),
        ({"backbone": "resnet1"}, "there is no backbone 'resnet1'.*resnet"),
        ({"classes": CLASSES[:2]}, "S .train.: label 2 is not one of the 2 classes"),
    ],
)
def test_refused_in_words(train: Make, prepared: Make, changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        train({"data": prepared()}, **changes)


def test_a_backbone_of_another_size_is_refused(train: Make, prepared: Make) -> None:
    with pytest.raises(
        UserError, match="backbone test_vit takes images of 160 pixels alone, not the 32 of bars"
    ):
        train({"data": prepared()}, backbone="test_vit")


def test_a_model_of_timm_with_a_bottleneck(train: Make, prepared: Make) -> None:
    choice = {
        "backbone": "test_resnet",
        "bottleneck": 16,
        "iterations": 2,
        "batch_size": 4,
        "optimizer": "sgd",
    }
    workspace = train({"data": prepared()}, method="MCC", **choice)
    weights = load(products(workspace)["model.safetensors"])
    assert weights["head.weight"].shape == (3, 16)
    with np.load(workspace / "features.npz") as arrays:
        assert arrays["source.features"].shape[1] == 16
