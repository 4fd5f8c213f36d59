"""A step of fine-tuning waits for no number from the device, and divergence is told with its step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.core.step_losses import LOOK_EVERY
from pipeline.diffusion.finetune.data import Batch
from pipeline.diffusion.finetune.trainer import Tuner
from pipeline.planning.kinds.finetune import FinetuneParams
from tests.diffusion.finetune.samples import changed, make_tuner
from tests.waiting import nothing_is_waited_for


def counters(tuner: Tuner) -> list[torch.Tensor]:
    """The optimizer's counts of steps, which it keeps on the CPU."""
    return [state["step"] for state in tuner.optimizer.state.values()]


@pytest.mark.parametrize("options", [{}, {"snr_gamma": 5.0, "ema": 0.9, "gradient_accumulation": 2}])
def test_a_step_waits_for_no_number(
    tmp_path: Path,
    params: FinetuneParams,
    two_domains: Path,
    options: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tuner, step, watched = make_tuner(changed(params, **options), two_domains, tmp_path), Tuner._step, []

    def without_waiting(self: Tuner, number: int, shares: list[Batch]) -> None:
        if number == 0:  # makes the optimizer's state
            step(self, number, shares)
            return
        with nothing_is_waited_for(monkeypatch, but_of=counters(self)):
            step(self, number, shares)
        watched.append(number)

    monkeypatch.setattr(Tuner, "_step", without_waiting)
    assert list(tuner.steps()) == [1, 2, 3]
    assert watched == [1, 2]
    assert [row[0] for row in tuner.log] == [0, 1, 2]
    assert torch.tensor(tuner.log).isfinite().all()


@pytest.mark.parametrize("look_every", [1, 2, 100])
def test_a_loss_that_is_no_number_is_told_with_its_step(
    tmp_path: Path,
    params: FinetuneParams,
    two_domains: Path,
    look_every: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However seldom losses are looked at."""
    monkeypatch.setitem(LOOK_EVERY, "cpu", look_every)
    tuner = make_tuner(changed(params, steps=6), two_domains, tmp_path)
    batch = tuner.data.batch

    def spoilt(step: int) -> Batch:
        drawn = batch(step)
        return replace(drawn, noise=drawn.noise * (torch.nan if step == 1 else 1))

    monkeypatch.setattr(tuner.data, "batch", spoilt)
    with pytest.raises(UserError, match=r"the loss became nan at step 1; lower finetune.learning_rate"):
        for _ in tuner.steps():
            pass


def test_no_checkpoint_is_written_after_a_loss_that_is_no_number(
    tmp_path: Path, params: FinetuneParams, two_domains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOOK_EVERY, "cpu", 100)
    tuner = make_tuner(changed(params, steps=6, learning_rate=1e20), two_domains, tmp_path)
    steps = tuner.steps()
    for _ in range(4):
        next(steps)
    with pytest.raises(UserError, match=r"the loss became \w+ at step [1-3];"):
        tuner.save(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "checkpoint.pt").exists()


def test_looking_seldom_changes_no_weight(
    tmp_path: Path, params: FinetuneParams, two_domains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often, seldom = (make_tuner(params, two_domains, tmp_path) for _ in range(2))
    assert list(often.steps()) == [1, 2, 3]
    monkeypatch.setitem(LOOK_EVERY, "cpu", 2)
    assert list(seldom.steps()) == [1, 2, 3]
    assert often.log == seldom.log
    for name, tensor in often.adapter.tensors().items():
        assert torch.equal(seldom.adapter.tensors()[name], tensor)
