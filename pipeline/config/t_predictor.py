"""How a suite says which t an image has, and at which t new domains are made (setting dg)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Count, Fraction, Rate, Seed, Strict

TDim = Annotated[int, Field(ge=1, le=3)]


class TPredictorSettings(Strict):
    """The network that predicts the t of an image. Defaults: the Terra authors'."""

    backbone: str = Field(default="resnet50.tv_in1k", description="digits_cnn, or any model of timm")
    pretrained: str | None = Field(
        default="hub",
        description="weights of the backbone: hub, the path of a .safetensors or .pth file, or null = from the seed",
    )
    pretrained_sha256: str | None = Field(
        default=None, description="of that file; found when a suite is opened, for the key of the job"
    )
    margin: Rate = Field(
        default=1.0, description="how far apart the t of images of different domains are pushed"
    )
    gaussian: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="weight of the regulariser that draws the t of a batch to N(0, I)"
    )
    covariance_floor: Rate = Field(
        default=1e-6, description="added to the variances of t in that regulariser, which are then never 0"
    )
    learning_rate: Rate = 1e-5
    batch_size: Annotated[int, Field(ge=2)] = Field(default=256, description="images of all domains together")
    epochs: Count = 10
    checkpoint_every: Count = Field(default=100, description="steps")
    seed: Seed = 0


class GridSettings(Strict):
    """At which t new domains are made: points of a regular grid in or near the hull of the predicted t."""

    range: tuple[float, float] = Field(
        default=(-2.0, 2.0), description="of the grid, the same in every dimension of t"
    )
    step: Rate = 0.5
    margin: Annotated[float, Field(ge=0)] = Field(
        default=0.5, description="how far outside the convex hull of the predicted t a point may lie"
    )
    per_class: Count = Field(default=4, description="images of each class to make at each point")
    start: Literal["noise", "source"] = Field(
        default="noise",
        description="what images are made from: noise, or source images, inverted at the mean t of their domain",
    )
    scales: list[Fraction] = Field(
        default=[1.0],
        min_length=1,
        description="factors on the adapter's update, which the points take in turn: below 1, domains between the "
        "sources and what the base model knows by itself",
    )
    points: Count | None = Field(
        default=None, description="the most points to take, evenly spread; null = all that fit"
    )
    fallback: list[list[float]] | None = Field(
        default=None,
        min_length=1,
        description="the points to take if no grid can be laid, for all images have one t or no point is near "
        "them; null = the centre and the corners of the range",
    )

    @model_validator(mode="after")
    def _a_range_has_a_low_and_a_high_end(self) -> "GridSettings":
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range is {list(self.range)}; expected [low, high], low below high")
        return self

    def most(self, t_dim: int) -> int:
        """The most points that can be taken in `t_dim` dimensions."""
        low, high = self.range
        whole: int = (int((high - low) / self.step + 1e-9) + 1) ** t_dim
        return whole if self.points is None else min(whole, self.points)
