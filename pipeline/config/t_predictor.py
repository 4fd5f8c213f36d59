"""How a suite finds the time t of an image under dg, and at which t it makes new domains."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import (
    Count,
    Fraction,
    Rate,
    Real,
    Seed,
    Strict,
    Whole,
    keyed_unless_default,
)


class TPredictorSettings(Strict):
    """The network that predicts the time t of an image. The defaults are those of the authors of Terra."""

    backbone: str = Field(
        default="resnet50.tv_in1k", description="feature extractor: `digits_cnn`, or a model of timm"
    )
    pretrained: str | None = Field(
        default="hub",
        description="weights of the backbone: `hub`, the path of a .safetensors or .pth file, or null = "
        "drawn from the seed",
    )
    pretrained_sha256: str | None = Field(
        default=None,
        description="SHA-256 hash that the file of weights must have; null = any. The key of the job has "
        "the hash",
    )
    normalisation: Literal["backbone", "half"] = keyed_unless_default(
        "backbone",
        "how colours from 0 to 1 are normalised: by the mean and deviation of the `backbone`'s pretraining, "
        "or to -1 to 1, with 0.5 for both (`half`), as the authors do",
    )
    margin: Rate = Field(
        default=1.0, description="distance to which the t of images of different domains are pushed apart"
    )
    gaussian: Annotated[Real, Field(ge=0)] = Field(
        default=0.0, description="weight of the regulariser that pulls the t of a batch to N(0, I); 0 = none"
    )
    covariance_floor: Rate = Field(
        default=1e-6, description="added to the variances of t in that regulariser, so that none is 0"
    )
    learning_rate: Rate = Field(default=1e-5, description="learning rate of Adam")
    batch_size: Annotated[Whole, Field(ge=2)] = Field(
        default=256, description="images in a step, of all domains together; 2 or more"
    )
    epochs: Count = Field(default=10, description="passes over all source images")
    checkpoint_every: Count = Field(default=100, description="steps between checkpoints")
    seed: Seed = Field(default=0, description="seed of the weights and of the batches")


class GridSettings(Strict):
    """The times t of new domains: points of a regular grid, all of it or near the hull of the predicted t."""

    range: tuple[Real, Real] = Field(
        default=(-2.0, 2.0), description="lowest and highest t of the grid, the same in every dimension"
    )
    step: Rate = Field(default=0.5, description="distance of neighbouring points")
    margin: Annotated[Real, Field(ge=0)] | None = Field(
        default=0.5,
        description="how far outside the convex hull of the predicted t a point may lie; null = anywhere, "
        "the whole grid",
    )
    per_class: Count = Field(default=4, description="images of each class to make at each point")
    start: Literal["noise", "source"] = Field(
        default="noise",
        description="what images are made from: `noise`, or `source` images, inverted at the mean t of "
        "their domain",
    )
    scales: list[Fraction] = Field(
        default=[1.0],
        min_length=1,
        description="factors on the adapter's update, from 0 to 1, which the points take in turn: below 1, "
        "domains between the sources and the base model",
    )
    points: Count | None = Field(
        default=None, description="the most points to take, evenly spread; null = all that fit"
    )
    fallback: list[list[Real]] | None = Field(
        default=None,
        min_length=1,
        description="the points to take where the grid has none, because all images have one t or no point "
        "is near them; null = the centre and the corners of `range`",
    )

    @model_validator(mode="after")
    def _range_ascends(self) -> "GridSettings":
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range is {list(self.range)}; expected [low, high], low below high")
        return self

    def most(self, t_dim: int) -> int:
        """Return the upper limit of the number of points in `t_dim` dimensions."""
        low, high = self.range
        whole: int = (int((high - low) / self.step + 1e-9) + 1) ** t_dim
        return whole if self.points is None else min(whole, self.points)
