"""Files of tensors that others wrote: read, checked and written so that a fault is one sentence."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

LENGTH = 8
"""The bytes at the start of a safetensors file that state the length of its header."""


@contextmanager
def open_safetensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file for PyTorch, as `safetensors.safe_open` does.

    Raises:
        UserError: `path` is no regular file, or no complete safetensors file.
    """
    if not path.is_file():
        raise UserError(f"{path} can't be read as safetensors: there is no such file")
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} can't be read as safetensors: {reason}") from error


def is_finite(tensor: "Tensor") -> bool:
    """Return whether a tensor holds neither NaN nor infinity.

    A sum is finite only if every number is, and costs one pass without memory. A sum that overflowed is
    settled by looking at every number.
    """
    if not tensor.is_floating_point():
        return True
    if tensor.element_size() == 1:  # float8 has no sum
        tensor = tensor.float()
    return math.isfinite(tensor.sum().item()) or bool(tensor.isfinite().all())


def refuse_non_finite(what: object, tensors: Mapping[str, "Tensor"]) -> None:
    """Raise a UserError that names `what`, such as a file, and the first tensor with NaN or infinity."""
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise UserError(
                f"{what}: the tensor {name} holds NaN or infinity, as after a training that diverged or a "
                "damaged copy; use another file"
            )


def sort_metadata(data: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which the library writes in random order."""
    end = LENGTH + int.from_bytes(data[:LENGTH], "little")
    header = json.loads(data[LENGTH:end])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % LENGTH)  # tensors are aligned
    return len(text).to_bytes(LENGTH, "little") + text + data[end:]
