"""Low-rank adapters of a denoiser, each a folder: terra, lorweb, and lora as their baseline. All are an `Adapter`."""

from pathlib import Path

from torch import nn

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters.adapter import Adapter, saved_spec
from pipeline.diffusion.adapters.lora import LoraAdapter
from pipeline.diffusion.adapters.lorweb import LorwebAdapter
from pipeline.diffusion.adapters.terra import TerraAdapter

__all__ = [
    "Adapter",
    "LoraAdapter",
    "LorwebAdapter",
    "TerraAdapter",
    "load_adapter",
    "make_adapter",
    "saved_spec",
]


def make_adapter(denoiser: nn.Module, spec: AdapterSpec, seed: int) -> Adapter:
    """The adapter that `spec` describes, wrapped around layers of `denoiser`, its first weights drawn from `seed`."""
    made: dict[str, type[Adapter]] = {"terra": TerraAdapter, "lora": LoraAdapter, "lorweb": LorwebAdapter}
    return made[spec.type](denoiser, spec, seed)


def load_adapter(denoiser: nn.Module, path: Path) -> Adapter:
    """The adapter saved at `path`, around `denoiser`; UserError that names both sides if it does not fit."""
    adapter = make_adapter(denoiser, saved_spec(path), seed=0)
    adapter.load(path)
    return adapter
