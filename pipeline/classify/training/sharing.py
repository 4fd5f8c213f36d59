"""One training by several processes: each passes a share of every batch through the backbone.

All processes draw the same batches, put the features of the shares together, and compute everything after the
backbone on the whole batch: losses that compare images with each other, as most methods of adaptation have,
and BatchNorm in the bottleneck are those of one process.
"""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.classify.method import Method
from pipeline.classify.network import Network
from pipeline.core.checkpoint import CHECKPOINT


@contextmanager
def connected() -> Iterator[None]:
    """Connect this process with the others of its job within this context; each takes a GPU of its own."""
    gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if gpu else "gloo")
    if gpu:
        torch.cuda.set_device(dist.get_node_local_rank())
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def own_workspace(workspace: Path) -> Iterator[Path]:
    """Yield the folder that this process writes to: `workspace` in the first, a temporary one in others.

    Each of them begins with the job's checkpoint, if there is one.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, checkpoint = Path(name), workspace / "scratch" / CHECKPOINT
        if dist.get_rank() > 0 and checkpoint.exists():
            (folder / "scratch").mkdir()
            shutil.copy(checkpoint, folder / "scratch")
        dist.barrier()  # before the first process may replace the checkpoint
        yield workspace if dist.get_rank() == 0 else folder


def share_backbone(network: Network, method: Method) -> None:
    """Let every pass through the backbone be shared by all processes, and sum gradients over them.

    The backbone has no BatchNorm layers that use the statistics of a batch (see `check_backbone_fits`), and
    the method looks at no levels within it (see `registry.check_processes`).

    Gradients of the backbone are sums over shares. All other gradients are the same in every process but for
    rounding, and are averaged, so that the weights of all processes stay equal.
    """
    # An attribute of the instance, so that names of weights stay.
    network.backbone.__dict__["forward"] = SharedPass(network.backbone.forward)
    of_backbone = set(network.backbone.parameters())
    for weight in {*network.parameters(), *method.parameters()}:
        if weight.requires_grad:
            weight.register_hook(_summed if weight in of_backbone else _averaged)


@dataclass
class SharedPass:
    """A pass through a backbone that all processes share: images [n, …] to features [n, …], in order.

    Attributes:
        alone: The pass of one process.
    """

    alone: Callable[[Tensor], Tensor]

    def __call__(self, images: Tensor) -> Tensor:
        """Pass this process's share of the images through the backbone, and return the features of all."""
        size = math.ceil(len(images) / dist.get_world_size())
        start = dist.get_rank() * size
        own = images[start : start + size]
        if missing := size - len(own):  # shares have one size; the features of what fills them up are dropped
            own = torch.cat([own, images[-1:].expand(missing, *images.shape[1:])])
        gathered: Tensor = _Gathered.apply(self.alone(own))
        return gathered[: len(images)]


class _Gathered(torch.autograd.Function):
    """Shares [size, …] of all processes, one after the other."""

    @staticmethod
    def forward(ctx: Any, share: Tensor) -> Tensor:
        """Return the shares of all processes."""
        ctx.size = len(share)
        shares = [torch.empty_like(share) for _ in range(dist.get_world_size())]
        dist.all_gather(shares, share.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of this process's share: the loss, of the whole batch, is that of all."""
        start = dist.get_rank() * ctx.size
        return gradient[start : start + ctx.size]


def _summed(gradient: Tensor) -> Tensor:
    """Return the sum of a gradient over all processes."""
    total = gradient.contiguous().clone()
    dist.all_reduce(total)
    return total


def _averaged(gradient: Tensor) -> Tensor:
    """Return the mean of a gradient over all processes."""
    return _summed(gradient) / dist.get_world_size()


def quiet(done: int, total: int, what: str) -> None:
    """Report nothing: the progress of a process that is not the first."""
