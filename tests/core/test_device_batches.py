"""Batches on their way to the device: every tensor of them, in order, with the values they had."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from pipeline.core.device_batches import map_tensors, on_device, pinned

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Batch:
    images: Tensor
    prompts: "Batch | None"
    name: str


def made(step: int) -> list[Batch]:
    inner = Batch(torch.full((2,), step), None, "inner")
    return [Batch(torch.full((3,), 10 * step), inner, "outer"), Batch(torch.zeros(1), None, "other")]


def test_every_tensor_is_changed_and_nothing_else() -> None:
    found = map_tensors(lambda tensor: tensor + 1, (made(1), 5, None))
    assert map_tensors(lambda tensor: tensor + 1, {"view": torch.zeros(2), "name": 3})["view"].tolist() == [
        1,
        1,
    ]
    outer, other = found[0]
    assert (outer.images.tolist(), outer.prompts.images.tolist(), other.images.tolist()) == (
        [11] * 3,
        [2] * 2,
        [1],
    )
    assert (outer.name, outer.prompts.prompts, found[1:]) == ("outer", None, (5, None))


def test_on_a_cpu_batches_are_passed_on_as_they_are() -> None:
    batches = [made(step) for step in range(3)]
    assert pinned(batches[0], CPU) is batches[0]
    assert all(one is other for one, other in zip(on_device(batches, CPU), batches, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_batches_arrive_in_order_while_others_are_copied() -> None:
    device = torch.device("cuda")
    batches = (pinned((torch.full((1000, 1000), float(step)),), device) for step in range(20))
    sums = []
    for (batch,) in on_device(batches, device):
        assert batch.is_cuda
        for _ in range(5):  # keeps the GPU busy, so that the next copies overtake
            batch = (batch @ torch.eye(1000, device=device)).round()
        sums.append(batch.sum())
    assert torch.stack(sums).tolist() == [1e6 * step for step in range(20)]
