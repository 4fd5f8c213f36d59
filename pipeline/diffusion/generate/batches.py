"""Sample in batches of a stated size, or of as many images as fit into the memory of the GPU."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from pipeline.config import BatchSize
from pipeline.diffusion.base_model import BaseModel

Product = TypeVar("Product")

ON_CPU = 8
"""The batch size `auto` on a CPU, where larger batches are no faster."""

FIRST_AT_512 = 64
"""The batch size that `auto` tries first on a GPU, in images of 512 pixels."""


class Batches:
    """Divides work into batches. Under `auto`, a batch that does not fit is halved, and the size stays so.

    Args:
        size: Images of a batch, or `auto`.
        model: Where it is, and its resolution, decide where `auto` begins.

    Attributes:
        size: The size of the next batch.
        auto: Whether the size may shrink.
    """

    def __init__(self, size: BatchSize, model: BaseModel) -> None:
        self.auto = size == "auto"
        if isinstance(size, int):
            self.size = size
        elif model.device.type == "cpu":
            self.size = ON_CPU
        else:
            self.size = max(1, FIRST_AT_512 * 512**2 // model.resolution**2)

    def run(self, count: int, work: Callable[[slice], Product]) -> Iterator[tuple[slice, Product]]:
        """Yield each batch, as a slice of range(count), and what `work` makes of it, in order.

        Raises:
            torch.OutOfMemoryError: `work` raised it for a batch whose size is stated, or of one image.
        """
        start = 0
        while start < count:
            part = slice(start, min(start + self.size, count))
            try:
                product = work(part)
            except torch.OutOfMemoryError:
                if not self.auto or part.stop - part.start == 1:
                    raise
                self.size = (part.stop - part.start + 1) // 2
            else:
                yield part, product
                start = part.stop
                continue
            torch.cuda.empty_cache()  # the exception, and with it the tensors of its frames, is gone here
