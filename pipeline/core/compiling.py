"""Compile networks by torch.compile."""

import importlib.util
import os
import shutil
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

COMPILERS = "g++", "clang++", "c++"


def compile_network(network: "nn.Module", device: "torch.device", field: str) -> None:
    """Compile `network` in place: its next pass takes a minute or two, and passes after it are faster.

    Results differ from those of the network as it was by rounding.

    Args:
        network: Its modules and parameters stay as they are, also by name.
        device: Where it computes.
        field: The field of the suite that asks for it, for the error.

    Raises:
        UserError: What torch.compile needs is not installed.
    """
    compiler = any(map(shutil.which, (os.environ.get("CXX") or COMPILERS[0], *COMPILERS)))
    if not compiler:
        raise UserError(
            f"{field}: true needs a C++ compiler, and none of {', '.join(COMPILERS)} is installed; "
            "install one, or take false"
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UserError(f"{field}: true needs triton on a GPU; pip install triton, or take false")
    network.compile()
