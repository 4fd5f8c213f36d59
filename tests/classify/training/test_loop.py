"""The loop's own settings: precision, clipping, the device, and batches that are too small or too large."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.classify.training.loop import Loop
from pipeline.classify.training.stage import _make_loop
from pipeline.core.errors import UserError
from tests.classify.train_samples import CLASSES, killed_and_resumed, parameters, products

Make = Callable[..., Path]

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a GPU")


@pytest.fixture
def make_loop(prepared: Make, tmp_path: Path) -> Callable[..., Loop]:
    data = prepared()

    def make(**changes: Any) -> Loop:
        loop = _make_loop(parameters(**changes), data, {}, tmp_path / "checkpoint")
        loop.network.train()
        return loop

    return make


METHODS = {"ERM": {}, "SDAT": {"hidden": 8, "rho": 0.5}}


def gradient(loop: Loop) -> Tensor:
    weights = [*loop.network.parameters(), *loop.method.parameters()]
    return torch.cat([weight.grad.flatten() for weight in weights])


@no_gpu
@pytest.mark.parametrize("method", METHODS)
def test_a_long_gradient_is_shortened_and_a_short_one_left(
    make_loop: Callable[..., Loop], method: str
) -> None:
    given = {"method": method, "hyperparameters": METHODS[method]}
    plain, short, long = (make_loop(clip_norm=norm, **given) for norm in (None, 1e-3, 1e6))
    for loop in (plain, short, long):
        loop._step(*loop._batch(loop.done))
    whole = gradient(plain)
    torch.testing.assert_close(gradient(short), 1e-3 * whole / whole.norm(), rtol=1e-3, atol=1e-9)
    assert torch.equal(gradient(long), whole)


@no_gpu
@pytest.mark.parametrize("method", [*METHODS, "MCD"])
def test_scaling_the_loss_changes_nothing_and_an_overflow_skips_the_step(
    make_loop: Callable[..., Loop], method: str
) -> None:
    """As in fp16 on a GPU: a scale that is a power of two is exact, in steps of several gradients too."""
    given = {"method": method, "hyperparameters": METHODS.get(method, {"width": 8}), "clip_norm": 0.1}
    plain, scaled = make_loop(**given), make_loop(**given)
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = copy.deepcopy(plain.network.state_dict())
    for loop in (plain, scaled):
        loop._step(*loop._batch(loop.done))
    for weight, expected in zip(scaled.network.parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-8)
    assert not torch.equal(plain.network.state_dict()["backbone.0.weight"], before["backbone.0.weight"])

    overflowing = make_loop(**given)
    overflowing.scaler = torch.amp.GradScaler("cpu", init_scale=float("inf"))
    overflowing._step(*overflowing._batch(overflowing.done))
    for name, weight in overflowing.network.named_parameters():
        assert torch.equal(weight, before[name]), name


@no_gpu
def test_bf16_changes_the_passes_alone_and_goes_on_after_a_kill(
    tmp_path: Path, train: Make, prepared: Make, make_loop: Callable[..., Loop]
) -> None:
    inputs = {"data": prepared("other")}
    choice = {"method": "SDAT", "hyperparameters": {"hidden": 8}, "precision": "bf16", "clip_norm": 1.0}
    whole, plain = (
        products(train(inputs, **choice)),
        products(train(inputs, **choice | {"precision": "fp32"})),
    )
    assert whole["model.safetensors"] != plain["model.safetensors"]
    assert killed_and_resumed(choice, inputs, tmp_path / "killed", 8) == whole

    loop = make_loop(precision="bf16")
    step = loop._forward(*loop._batch(loop.done))
    assert step.labelled.logits.dtype == torch.float32
    assert torch.equal(step.labelled.logits, step.labelled.logits.bfloat16().float())
    assert {weight.dtype for weight in loop.network.parameters()} == {torch.float32}


@no_gpu
def test_fp16_needs_a_gpu(make_loop: Callable[..., Loop]) -> None:
    with pytest.raises(
        UserError, match=r"^train\.precision: fp16 needs a GPU, and there is none here; use bf16 or fp32$"
    ):
        make_loop(precision="fp16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", METHODS)
def test_on_a_gpu(train: Make, prepared: Make, method: str, precision: str) -> None:
    choice = {"method": method, "hyperparameters": METHODS[method], "precision": precision, "clip_norm": 1.0}
    inputs = {"data": prepared()}
    first, again = (products(train(inputs, bottleneck=8, **choice)) for _ in range(2))
    assert first == again


def test_a_batch_of_one_is_refused_where_batchnorm_would_see_it_alone(train: Make, prepared: Make) -> None:
    inputs = {"data": prepared()}
    with pytest.raises(
        UserError, match=r"train\.batch_size: BatchNorm layers need at least 2 images in a step, not 1"
    ):
        train(inputs, batch_size=1)
    train(inputs, batch_size=1, iterations=2, frozen_batchnorm=True)
    train(inputs, batch_size=1, iterations=2, method="MCC")  # which sees a target image beside it


def test_domains_smaller_than_a_batch_are_gone_through_more_than_once(train: Make, prepared: Make) -> None:
    data = prepared()  # 48 images of the source, 45 of the target
    workspace = train({"data": data}, method="MCC", batch_size=100, iterations=2)
    assert json.loads((workspace / "records.json").read_text())[0]["accuracy"] >= 0


def test_a_class_without_images_has_no_accuracy_and_stops_nothing(train: Make, prepared: Make) -> None:
    for method in ("ERM", "MCC"):
        workspace = train({"data": prepared(method)}, method=method, classes=[*CLASSES, "never seen"])
        (record,) = json.loads((workspace / "records.json").read_text())
        assert len(record["per_class"]) == 4
        assert record["per_class"][3] is None
