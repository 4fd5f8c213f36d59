"""Terra between two endpoints, which learns X at t = 0 and Y at t = 1 (Zhuang et al. 2024, section 5.1)."""

from torch import nn

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters import Adapter, TerraAdapter
from pipeline.diffusion.morph.method import Morph


class TerraMorph(Morph):
    """DDIM interpolation in a model whose t goes from 0 to 1."""

    def wrap(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> Adapter:
        """Put a Terra around `denoiser`."""
        return TerraAdapter(denoiser, spec, seed)
