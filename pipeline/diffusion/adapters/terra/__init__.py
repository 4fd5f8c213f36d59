"""Terra, a low-rank adapter that varies with a time t (Zhuang et al., NeurIPS 2024)."""

from pipeline.diffusion.adapters.terra.model import TerraAdapter, saved_spec

__all__ = ["TerraAdapter", "saved_spec"]
