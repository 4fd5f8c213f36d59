"""LoRA interpolation: a LoRA for each end, and between them their weights interpolated."""

from torch import nn

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters import Adapter
from pipeline.diffusion.morph.lora_pair import LoraPair
from pipeline.diffusion.morph.method import Morph


class LoraInterpolation(Morph):
    """DDIM interpolation in a model whose weights go from the LoRA of X to that of Y."""

    def wrap(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> Adapter:
        """Two LoRAs, of the rank and on the layers of `spec`."""
        return LoraPair(denoiser, spec, seed)
