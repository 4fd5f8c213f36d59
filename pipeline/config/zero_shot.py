"""How a suite states a classifier that is not trained."""

from pydantic import Field

from pipeline.config.base import Strict

ZERO_SHOT = "CLIP"
"""The method that classifies by the words of the classes, without a training."""


class ZeroShotSettings(Strict):
    """The hyper-parameters of `CLIP`, zero-shot (Radford et al. 2021, section 3.1)."""

    model: str = Field(
        default="openai/clip-vit-base-patch16",
        description="a CLIP of transformers: hub id (OWNER/NAME), or the path of a folder",
    )
    revision: str | None = Field(
        default=None,
        description="revision on the hub; null = the newest. For a folder it is a hash of the files, found "
        "by itself",
    )
    prompt: str = Field(
        default="a photo of a {class}.",
        description="text of a class; {class} stands for the words of the dataset card",
    )
