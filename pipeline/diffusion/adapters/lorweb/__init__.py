"""LoRWeB (Manor et al. 2026, arXiv 2602.15727): a basis of LoRAs, mixed for an analogy a : a' :: b : b'.

layer.py holds one layer and its mixing weights, model.py the adapter of a whole denoiser, encoder.py the
frozen network that embeds the images of analogies.
"""

from pipeline.diffusion.adapters.lorweb.encoder import ImageEncoder, analogy, load_encoder
from pipeline.diffusion.adapters.lorweb.layer import analogy_spec
from pipeline.diffusion.adapters.lorweb.model import LorwebAdapter

__all__ = ["ImageEncoder", "LorwebAdapter", "analogy", "analogy_spec", "load_encoder"]
