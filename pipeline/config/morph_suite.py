"""benchmarks/morph.yaml: a suite that compares morphing methods."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.adapters import AdapterSpec
from pipeline.config.base import Count, Seed, Strict, Whole
from pipeline.config.base_model import BaseModelSpec
from pipeline.config.morph import PIXELS, MorphMethod, MorphSettings
from pipeline.config.names import SuiteName
from pipeline.config.train import MethodSpec, TrainSettings

MorphKind = Literal["images", "styles", "subjects"]


class MorphSuite(Strict):
    """A suite of setting morph."""

    name: SuiteName = Field(description="name of the suite, and of its results folder")
    title: str = Field(description="title of its page and tables")
    setting: Literal["morph"] = Field(description="`morph`: image interpolation")
    dataset: str = Field(description="name of a dataset card under datasets/")
    base_model: BaseModelSpec = Field(description="the pretrained diffusion model")
    methods: list[MorphMethod] = Field(min_length=1, description="morphing methods")
    kinds: list[MorphKind] = Field(
        default=["images", "styles", "subjects"],
        min_length=1,
        description="which endpoints are morphed. `images`: one image to another, of two classes in one "
        "domain. `styles`: several images of a class in one domain to several of the same class in another. "
        "`subjects`: several images of one class to several of another, in one domain",
    )
    pairs: Count = Field(default=8, description="pairs of endpoints of each kind, drawn from the seed")
    several: Count = Field(default=8, description="images of an endpoint of `styles` and `subjects`")
    frames: Whole = Field(default=16, ge=2, description="frames of a morph with its endpoints; 2 or more")
    prompt: str = Field(
        default="a {class}", description="prompt of an endpoint; {class} stands for the words of its class"
    )
    morph: MorphSettings = Field(default=MorphSettings(), description="how a morph is made")
    distance: str = Field(default="alex", description="network of PPL: `pixels`, or one of `metrics`")
    features: str = Field(default="inception", description="network of FID and KID, as in `metrics`")
    seed: Seed = Field(default=0, description="seed of the endpoints")
    threads: Count = Field(
        default=1,
        description="CPU threads of a job; part of its key, because rounding depends on it",
    )

    @property
    def classifiers(self) -> list[MethodSpec]:
        """No methods that train classifiers."""
        return []

    @property
    def uses_base_model(self) -> bool:
        """Whether any job needs the base model."""
        return True

    @property
    def used_adapters(self) -> list[AdapterSpec]:
        """No adapter is shared between jobs: each morph has its own."""
        return []

    @property
    def optimizers(self) -> list[str]:
        """No optimizer can be chosen."""
        return []

    @property
    def backbones(self) -> list[TrainSettings]:
        """No classifier is trained."""
        return []

    @model_validator(mode="after")
    def _base_model_has_a_resolution(self) -> "MorphSuite":
        self.base_model.require_resolution()
        return self

    @model_validator(mode="after")
    def _each_once(self) -> "MorphSuite":
        for name in ("methods", "kinds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} has {max(values, key=values.count)!r} more than once")
        if self.features == PIXELS:
            raise ValueError("features: 'pixels' is a distance and no network; take digits, or another")
        return self
