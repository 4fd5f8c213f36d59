"""DDIM interpolation: spherical interpolation of inverted latents (Song et al. 2021, section 5.3)."""

from pipeline.diffusion.morph.method import Morph


class Ddim(Morph):
    """Interpolate noise and prompts of the base model; no adapter is learned."""
