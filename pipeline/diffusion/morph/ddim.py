"""DDIM interpolation: the inverted latents of X and Y on the arc between them (Song et al. 2021, section 5.3)."""

from pipeline.diffusion.morph.method import Morph


class Ddim(Morph):
    """The base model, with no adapter: noise and prompts are interpolated, and nothing else."""
