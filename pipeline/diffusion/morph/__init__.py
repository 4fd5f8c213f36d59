"""Morphing: images between two ends, X and Y. A method is a class in a file of its own; all are a `Morph`."""

from pipeline.config import MorphMethod
from pipeline.diffusion.morph.ddim import Ddim
from pipeline.diffusion.morph.diffmorpher import DiffMorpher
from pipeline.diffusion.morph.lora_interp import LoraInterpolation
from pipeline.diffusion.morph.method import Morph
from pipeline.diffusion.morph.terra import TerraMorph
from pipeline.diffusion.morph.terra_diffmorpher import TerraDiffMorpher

__all__ = ["METHODS", "Morph"]

METHODS: dict[MorphMethod, type[Morph]] = {
    "ddim": Ddim,
    "lora_interp": LoraInterpolation,
    "terra": TerraMorph,
    "diffmorpher": DiffMorpher,
    "terra_diffmorpher": TerraDiffMorpher,
}
