"""LoRA interpolation: one LoRA for each endpoint, whose updates are interpolated between them."""

from torch import nn

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters import Adapter
from pipeline.diffusion.morph.lora_pair import LoraPair
from pipeline.diffusion.morph.method import Morph


class LoraInterpolation(Morph):
    """DDIM interpolation in a model whose weights go from the LoRA of X to the LoRA of Y."""

    def wrap(self, denoiser: nn.Module, spec: AdapterSpec, seed: int) -> Adapter:
        """Put two LoRAs around `denoiser`, with the rank and the layers of `spec`."""
        return LoraPair(denoiser, spec, seed, self.settings.blend)
