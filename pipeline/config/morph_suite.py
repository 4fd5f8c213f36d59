"""benchmarks/morph.yaml: the form of a suite that compares morphing methods, and of what its jobs are told."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.base import Count, Seed, Strict
from pipeline.config.morph import PIXELS, MorphMethod, MorphSettings
from pipeline.config.suites import NAMED_MODELS, BaseModelSpec

MorphKind = Literal["images", "styles", "subjects"]


class MorphSuite(Strict):
    """A suite of setting morph."""

    name: str
    title: str
    setting: Literal["morph"]
    dataset: str
    base_model: BaseModelSpec
    methods: list[MorphMethod] = Field(min_length=1)
    kinds: list[MorphKind] = Field(default=["images", "styles", "subjects"], min_length=1)
    pairs: Count = Field(default=8, description="of ends of each kind, drawn from the seed")
    several: Count = Field(default=8, description="images of each end that is a style or a subject")
    frames: int = Field(default=16, ge=2, description="of each morph, with its ends")
    prompt: str = Field(default="a {class}", description="of an end; {class} is its class's words")
    morph: MorphSettings = MorphSettings()
    distance: str = Field(default="alex", description="the network of PPL, as in `metrics`")
    features: str = Field(default="inception", description="the network of FID and KID, as in `metrics`")
    seed: Seed = 0
    threads: Count = 1

    @model_validator(mode="after")
    def _base_model_has_a_resolution(self) -> "MorphSuite":
        spec = self.base_model
        if spec.name not in NAMED_MODELS and "resolution" not in spec.model_fields_set:
            raise ValueError(f"base_model {spec.name!r}: say its resolution, such as resolution: 512")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> "MorphSuite":
        for name in ("methods", "kinds"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"{name} has {max(given, key=given.count)!r} more than once")
        if self.features == PIXELS:
            raise ValueError("features: 'pixels' is a distance, and no network; take digits, or another")
        return self
