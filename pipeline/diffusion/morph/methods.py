"""The registry of morphing methods."""

from pipeline.config import MorphMethod, MorphSettings, nearest
from pipeline.core.errors import UserError
from pipeline.diffusion.morph.ddim import Ddim
from pipeline.diffusion.morph.diffmorpher import DiffMorpher
from pipeline.diffusion.morph.lora_interp import LoraInterpolation
from pipeline.diffusion.morph.method import Morph
from pipeline.diffusion.morph.terra import TerraMorph
from pipeline.diffusion.morph.terra_diffmorpher import TerraDiffMorpher
from pipeline.metrics.distances import Distances

METHODS: dict[MorphMethod, type[Morph]] = {
    "ddim": Ddim,
    "lora_interp": LoraInterpolation,
    "terra": TerraMorph,
    "diffmorpher": DiffMorpher,
    "terra_diffmorpher": TerraDiffMorpher,
}


def make_method(name: MorphMethod, settings: MorphSettings, distances: Distances | None = None) -> Morph:
    """Make the morphing method called `name`.

    Raises:
        UserError: There is no method of that name; the message lists all methods.
    """
    if name not in METHODS:
        raise UserError(f"there is no morphing method {name!r}; {nearest(name, METHODS)}")
    return METHODS[name](settings, distances)
