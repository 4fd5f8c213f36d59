"""DiffMorpher with one Terra instead of its two LoRAs (Zhuang et al. 2024, section 5.1)."""

from torch import nn

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters import Adapter, TerraAdapter
from pipeline.diffusion.morph.diffmorpher import DiffMorpher


class TerraDiffMorpher(DiffMorpher):
    """DiffMorpher in a model whose t goes from 0 to 1."""

    def wrap(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> Adapter:
        """Put a Terra around `denoiser`."""
        return TerraAdapter(denoiser, spec, seed)
