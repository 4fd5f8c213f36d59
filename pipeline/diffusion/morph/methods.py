"""The methods by name."""

from pipeline.config import MorphMethod
from pipeline.diffusion.morph.ddim import Ddim
from pipeline.diffusion.morph.diffmorpher import DiffMorpher
from pipeline.diffusion.morph.lora_interp import LoraInterpolation
from pipeline.diffusion.morph.method import Morph
from pipeline.diffusion.morph.terra import TerraMorph
from pipeline.diffusion.morph.terra_diffmorpher import TerraDiffMorpher

METHODS: dict[MorphMethod, type[Morph]] = {
    "ddim": Ddim,
    "lora_interp": LoraInterpolation,
    "terra": TerraMorph,
    "diffmorpher": DiffMorpher,
    "terra_diffmorpher": TerraDiffMorpher,
}
