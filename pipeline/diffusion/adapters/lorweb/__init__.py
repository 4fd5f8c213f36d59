"""LoRWeB (Manor et al. 2026, arXiv 2602.15727): a basis of LoRAs, mixed as an analogy a : a' :: b : b' asks.

layer.py has one layer and the weights of its mix, model.py a whole denoiser, encoder.py the frozen network that embeds
the images of analogies.
"""

from pipeline.diffusion.adapters.lorweb.encoder import ImageEncoder, analogy, load_encoder
from pipeline.diffusion.adapters.lorweb.model import LorwebAdapter

__all__ = ["ImageEncoder", "LorwebAdapter", "analogy", "load_encoder"]
