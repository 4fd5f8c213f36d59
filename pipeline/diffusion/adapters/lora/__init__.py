"""LoRA (Hu et al., ICLR 2022) by peft, the baseline without a time t, and LoRA files."""

from pipeline.diffusion.adapters.lora.model import LoraAdapter

__all__ = ["LoraAdapter"]
