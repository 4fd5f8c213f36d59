"""Checkpoints: what comes back is what was saved, and a damaged one is put aside."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.core.checkpoint import load_checkpoint, save_checkpoint
from pipeline.core.errors import Remark

ABOUT = {"done": 3, "history": [{"loss": 0.1 + 0.2}, {"loss": float("inf")}], "counts": {"open": 1}}


def make_network() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    return network, torch.optim.AdamW(network.parameters(), lr=0.1)


def steps(network: nn.Module, optimizer: torch.optim.Optimizer, count: int, start: int = 0) -> None:
    for step in range(start, start + count):
        images = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        network(images).square().sum().backward()
        optimizer.step()


def test_a_resumed_training_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, optimizer = make_network()
    steps(whole, optimizer, 3)
    save_checkpoint(tmp_path / "checkpoint.pt", whole.state_dict(), optimizer, ABOUT)
    steps(whole, optimizer, 2, start=3)
    resumed, optimizer = make_network()
    restored = load_checkpoint(tmp_path / "checkpoint.pt", optimizer)
    assert restored is not None
    tensors, about = restored
    assert about == ABOUT
    resumed.load_state_dict(tensors)
    steps(resumed, optimizer, 2, start=3)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])


def test_rates_are_not_restored_because_they_follow_from_the_step(tmp_path: Path) -> None:
    network, optimizer = make_network()
    save_checkpoint(tmp_path / "checkpoint.pt", network.state_dict(), optimizer, None)
    other = torch.optim.AdamW(network.parameters(), lr=0.5)
    assert load_checkpoint(tmp_path / "checkpoint.pt", other) is not None
    assert other.param_groups[0]["lr"] == 0.5


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_checkpoint(tmp_path / "checkpoint.pt", make_network()[1]) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: b"\0" * len(data),
        lambda data: b"not a checkpoint",
        lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
    ],
)
def test_a_damaged_checkpoint_is_named_and_put_aside(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    network, optimizer = make_network()
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, network.state_dict(), optimizer, ABOUT)
    path.write_bytes(damage(path.read_bytes()))
    damaged = path.read_bytes()
    with pytest.warns(
        Remark, match=r"the checkpoint .*/checkpoint\.pt is damaged; it was renamed to checkpoint"
    ):
        assert load_checkpoint(path, optimizer) is None
    assert not path.exists()
    assert (tmp_path / "checkpoint.pt.damaged").read_bytes() == damaged
    save_checkpoint(path, network.state_dict(), optimizer, ABOUT)
    assert load_checkpoint(path, optimizer) is not None


def test_a_checkpoint_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (ran,)

    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {}, make_network()[1], Hostile())
    with pytest.raises(pickle.UnpicklingError, match="Weights only"):
        load_checkpoint(path, make_network()[1])
    assert not ran.exists()
