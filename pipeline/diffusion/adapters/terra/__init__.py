"""Terra, a low-rank adapter that varies with a time t (Zhuang et al., NeurIPS 2024)."""

from pipeline.diffusion.adapters.terra.forms import SingularWarning
from pipeline.diffusion.adapters.terra.model import TerraAdapter

__all__ = ["SingularWarning", "TerraAdapter"]
