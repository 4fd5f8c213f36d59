"""A training by two processes, which gloo connects, is that of one process with the whole batch."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from pipeline.classify.factory import make_method
from pipeline.classify.method import Outputs, Step, total
from pipeline.classify.network import build_network
from pipeline.classify.training.sam import perturbed
from pipeline.classify.training.sharing import connected, share_backbone
from pipeline.classify.training.stage import run
from pipeline.core.errors import UserError
from pipeline.core.processes.launcher import launch
from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.planning.kinds.train import Train
from tests.classify.train_samples import Killed, ignore, killed_after, parameters, products

Make = Callable[..., Path]

VIT = {
    "backbone": "test_vit",
    "resample_positions": True,
    "bottleneck": 8,
    "batch_size": 7,
    "iterations": 4,
    "checkpoint_every": 2,
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "augment_shift": 0,
}


def gradients_in_float64(folder: Path, progress: Progress) -> None:
    """Write the gradients of one sharpness-aware step, in the first of several processes or in one alone."""
    with reproducible(1), connected() if "RANK" in os.environ else nullcontext():
        network = build_network(parameters(**VIT).settings, 3, seed=0, image_size=32)
        method = make_method("SDAT", {"hidden": 8, "rho": 0.5}, network, seed=0)
        network.double().train()
        method.double()
        if dist.is_initialized():
            share_backbone(network, method)
        torch.manual_seed(1)
        images, labels = torch.randn(9, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 2, 0])

        def step() -> Step:
            features, logits = network(images)
            halves = (Outputs(features[part], logits[part]) for part in (slice(4), slice(4, 9)))
            return Step(next(halves), labels, next(halves), 0.5)

        with perturbed(network, total(method.ascent(step()).values()), 0.5):
            total(method.losses(step()).values()).backward()
        named = dict(network.named_parameters()) | dict(method.named_parameters())
        found = {name: weight.grad for name, weight in named.items() if weight.grad is not None}
        if not dist.is_initialized() or dist.get_rank() == 0:
            save_file(found, folder / "gradients.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_gradients_are_those_of_one_process(tmp_path: Path, processes: int) -> None:
    """In float64; nine images are shared as 5 and 4, or as 3, 3, 3 and none."""
    one, several = tmp_path / "one", tmp_path / "several"
    one.mkdir()
    several.mkdir()
    gradients_in_float64(one, ignore)
    launch("train", processes, gradients_in_float64, (several,), ignore)
    expected, found = (load_file(folder / "gradients.safetensors") for folder in (one, several))
    assert expected.keys() == found.keys()
    assert sum(name.startswith("backbone.") for name in expected) > 50
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
        assert gradient.abs().max() > 1e-9 or name.endswith("bias"), name


@pytest.mark.slow
def test_two_processes_killed_and_resumed_train_as_one(tmp_path: Path, prepared: Make) -> None:
    inputs, one, two, seen = {"data": prepared()}, tmp_path / "one", tmp_path / "two", []
    run(parameters(method="MCC", **VIT), inputs, one, ignore)
    shared = parameters(method="MCC", processes=2, **VIT)
    with pytest.raises(Killed):
        run(shared, inputs, two, killed_after(3))
    run(shared, inputs, two, lambda done, total, what: seen.append(done))
    assert seen == [3, 4], "one process tells of the progress of all, from the last checkpoint on"
    assert products(two).keys() == products(one).keys()
    run(parameters(method="MCC", **VIT | {"iterations": 3}), inputs, tmp_path / "shorter", ignore)
    trained, other, shorter = (
        load_file(folder / "model.safetensors") for folder in (one, two, tmp_path / "shorter")
    )
    for name in trained:  # rounding in float32, which four steps amplify
        torch.testing.assert_close(other[name], trained[name], rtol=2e-4, atol=2e-4)
    moved = max(float((trained[name] - shorter[name]).abs().max()) for name in trained)
    assert moved > 2e-3, "one step moves weights by far more"
    a, b = (np.load(folder / "features.npz") for folder in (one, two))
    np.testing.assert_allclose(a["target.features"], b["target.features"], atol=1e-2)


@pytest.mark.slow
def test_statistics_of_a_share_are_refused(tmp_path: Path, prepared: Make) -> None:
    with pytest.raises(
        UserError, match=r"train.processes: digits_cnn has BatchNorm layers.*frozen_batchnorm"
    ):
        run(parameters(processes=2), {"data": prepared()}, tmp_path, ignore)


def test_several_processes_compile_nothing_and_need_as_many_gpus() -> None:
    with pytest.raises(ValidationError, match="compile is for one process"):
        parameters(processes=2, compile=True)
    assert "processes" not in parameters().settings.model_dump()
    shared = parameters(processes=4, workers=3)
    assert Train().processes(shared) == 4
    assert Train().cpus(shared) == 16
    assert Train().gpu_gib(shared) < Train().gpu_gib(parameters())
