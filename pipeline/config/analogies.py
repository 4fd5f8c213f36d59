"""How a suite describes LoRWeB: its basis, the encoder of its analogies, and the analogies it learns from."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Count, Strict, later

Pairing = Literal["random", "pseudo", "exact"]

Context = Literal["inversion", "grid"]
"""How b enters b': by its own latents, inverted to noise; or in a grid, which b' is painted into (pipeline/diffusion/generate/in_context.py)."""


class AnalogySpec(Strict):
    """What a LoRWeB has beside a rank. Defaults: the authors' (Manor et al. 2026), with `mini`'s own encoder.

    The source's labels are known and the target's are not, so that what an analogy a : a' :: b : b' is of is a setting:

    random: a and a' are any images of source and target, b' is any of the target, with the prompt that names no class.
    pseudo: a has the class of b; a' and b' are taken to have it, as the nearest source class in the encoder's features.
    exact:  the same digit rendered in the manner of both domains (pipeline/data/digits/paired.py), with its class prompt; no
            image of the target is seen. It knows how the domains were made, which adaptation does not: a control.
    """

    basis: Count = Field(default=32, description="LoRAs of a layer; each has `rank`")
    key_width: Count = Field(default=128, description="numbers of a key, of all heads together")
    heads: Count = Field(default=1, description="parts of keys and queries that weigh the basis apart")
    mixing: Literal["softmax", "clamp"] = Field(
        default="softmax",
        description="weights: softmax of products of query and keys, the mean over heads; or the products themselves, "
        "their sum over heads clamped to [-1, 1]",
    )
    encoder: str = Field(
        default="mini",
        description="what embeds images, frozen: mini, a model of timm, or the folder or hub id (OWNER/NAME) of a CLIP "
        "or SigLIP of transformers",
    )
    encoder_revision: str | None = Field(
        default=None,
        description="of its weights; of a folder found when a suite is opened, for the key of a job",
    )
    examples: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="the most pairs a : a' of one analogy, whose queries are averaged"
    )
    pairs: list[str] | None = Field(
        default=None,
        min_length=1,
        description="what analogies are learned from, such as [MN->MM, MN->UC]; null = the task's own pair",
    )
    pairing: Pairing = "random"
    context: Context = later(
        "inversion",
        "how b enters b': inversion, b' is sampled from b inverted to noise; grid, b' is painted from noise into a 2x2 "
        "image of (the first) a and a', over b, as the authors do, at four times the cost of a pass",
    )

    @model_validator(mode="after")
    def _heads_share_keys(self) -> "AnalogySpec":
        if self.key_width % self.heads:
            raise ValueError(f"key_width is {self.key_width}; expected a multiple of heads = {self.heads}")
        return self
