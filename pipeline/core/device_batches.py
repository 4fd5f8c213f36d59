"""Batches on the device of a training, copied there one ahead of the step that uses them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

BatchT = TypeVar("BatchT")


def map_tensors(change: Callable[[Tensor], Tensor], batch: BatchT) -> BatchT:
    """Return `batch` with every tensor changed.

    Args:
        change: Applied to each tensor.
        batch: A tensor, or a list, tuple, dict or dataclass of such; everything else in it stays as it is.
    """
    found: Any = batch
    if isinstance(batch, Tensor):
        found = change(batch)
    elif isinstance(batch, list | tuple):
        found = type(batch)([map_tensors(change, part) for part in batch])
    elif isinstance(batch, dict):
        found = {name: map_tensors(change, part) for name, part in batch.items()}
    elif is_dataclass(batch) and not isinstance(batch, type):
        changes = {field.name: map_tensors(change, getattr(batch, field.name)) for field in fields(batch)}
        found = replace(batch, **changes)
    return found  # type: ignore[no-any-return]


def pinned(batch: BatchT, device: torch.device) -> BatchT:
    """Return `batch` in pinned memory if `device` is a GPU: a copy from there does not wait for its end.

    What is on the GPU already stays there.
    """
    if device.type != "cuda":
        return batch
    return map_tensors(lambda tensor: tensor.pin_memory() if tensor.is_cpu else tensor, batch)


def on_device(batches: Iterable[BatchT], device: torch.device) -> Iterator[BatchT]:
    """Yield `batches`, which are in pinned memory, on `device`.

    On a GPU, a batch is copied by a stream of its own while the step before it is computed.
    """
    if device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: tuple[BatchT, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            copy = map_tensors(lambda tensor: tensor.to(device, non_blocking=True), batch)
            following = copy, stream.record_event()
        if ahead is not None:
            yield _ready(*ahead)
        ahead = following
    if ahead is not None:
        yield _ready(*ahead)


def _ready(batch: BatchT, copied: torch.cuda.Event) -> BatchT:
    """Let the current stream wait for the copy, and keep the memory of `batch` until this stream is done."""
    stream = torch.cuda.current_stream()
    stream.wait_event(copied)

    def used(tensor: Tensor) -> Tensor:
        tensor.record_stream(stream)
        return tensor

    return map_tensors(used, batch)
