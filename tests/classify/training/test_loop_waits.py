"""A step waits for no number from the device, and divergence is told with its step all the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.classify import registry
from pipeline.classify.factory import make_method
from pipeline.classify.method import Step
from pipeline.classify.network import build_network
from pipeline.classify.training import sam
from pipeline.classify.training.batches import LabelledBatches, make_pool
from pipeline.classify.training.loop import Diverged, Loop
from pipeline.config import TrainSettings
from pipeline.core.step_losses import LOOK_EVERY
from pipeline.data.image_sets import ImageSet
from tests.waiting import nothing_is_waited_for


def make_loop(folder: Path, method: str, **changes: object) -> Loop:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    settings = TrainSettings(
        **{"backbone": "digits_cnn", "iterations": 6, "batch_size": 8, "bottleneck": 8} | changes
    )
    network = build_network(settings, 3, seed=0)
    digits = ImageSet(images, rng.integers(0, 3, 24), [str(i) for i in range(24)])
    pool = make_pool(digits, 32, network.mean, network.std)
    made = make_method(method, {}, network, seed=0)
    target = pool if made.uses_target else None
    return Loop(network, made, LabelledBatches(pool, None, None), target, None, settings, 0, folder / "c")


UDA = [name for name, declared in registry.declarations().items() if not declared.needs_domains]


@pytest.mark.parametrize("method", UDA)
def test_a_step_waits_for_no_number(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, step = make_loop(tmp_path, method), Loop._step
    monkeypatch.setattr(sam, "_move_on_cpu", sam._move_on_gpu)

    def watched(self: Loop, *batch: Any) -> None:
        with nothing_is_waited_for(monkeypatch):
            step(self, *batch)

    monkeypatch.setattr(Loop, "_step", watched)
    loop.run(lambda done, total, what: None)
    assert loop.done == 6
    assert all(np.isfinite(list(row.values())).all() for row in loop.history)


@pytest.mark.parametrize("look_every", [1, 5, 100])
def test_a_loss_that_is_no_number_is_told_with_its_step(
    tmp_path: Path, look_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However seldom losses are looked at, and before a checkpoint is written."""
    monkeypatch.setitem(LOOK_EVERY, "cpu", look_every)
    loop = make_loop(tmp_path, "ERM", iterations=40, checkpoint_every=30)
    losses = loop.method.losses

    def spoilt(step: Step) -> dict[str, Tensor]:
        found = losses(step)
        return {name: value * (torch.nan if step.iteration == 2 else 1) for name, value in found.items()}

    monkeypatch.setattr(loop.method, "losses", spoilt)
    with pytest.raises(Diverged, match=r"the loss became nan at step 3 of 40"):
        loop.run(lambda done, total, what: None)
    assert not (tmp_path / "c").exists()


def test_looking_seldom_changes_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    often, seldom = (make_loop(tmp_path / name, "MCC") for name in ("often", "seldom"))
    often.run(lambda done, total, what: None)
    monkeypatch.setitem(LOOK_EVERY, "cpu", 4)
    seldom.run(lambda done, total, what: None)
    assert all(map(torch.equal, often.network.parameters(), seldom.network.parameters()))
    assert often.history == seldom.history
