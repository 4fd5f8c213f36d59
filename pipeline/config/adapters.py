"""How a suite describes its adapters, and the analogies that a LoRWeB learns from."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Count, Pattern, Rate, Setting, Strict, Whole, keyed_unless_default

Pairing = Literal["random", "pseudo", "exact"]

Context = Literal["inversion", "grid"]

TDim = Annotated[Whole, Field(ge=1, le=3)]


class AnalogySpec(Strict):
    """The settings that a LoRWeB has beside its rank.

    The defaults are those of its authors (Manor et al. 2026), but for the encoder, which is that of `mini`.
    """

    basis: Count = Field(
        default=32, description="number of LoRAs in the basis of a layer; each has rank `rank`"
    )
    key_width: Count = Field(
        default=128, description="numbers of a key, of all heads together; a multiple of `heads`"
    )
    heads: Count = Field(
        default=1, description="number of parts of keys and queries that weigh the basis separately"
    )
    mixing: Literal["softmax", "clamp", "tanh"] = Field(
        default="softmax",
        description="weights of the basis. `softmax`: softmax of the products of query and keys, averaged "
        "over heads. `clamp`: the products themselves, with their sum over heads clamped to [-1, 1]. `tanh`: "
        "their tanh first, as in the authors' code without softmax",
    )
    encoder: str = Field(
        default="mini",
        description="frozen network that embeds images: `mini`, a model of timm, or the folder or hub id "
        "(OWNER/NAME) of a CLIP or SigLIP of transformers",
    )
    encoder_revision: str | None = Field(
        default=None,
        description="revision of the encoder's weights on the hub; null = the newest. For a folder it is a "
        "hash of the files, found by itself",
    )
    examples: Annotated[Whole, Field(ge=1, le=64)] = Field(
        default=1,
        description="the most example pairs of one analogy, from 1 to 64; their queries are averaged",
    )
    pairs: list[str] | None = Field(
        default=None,
        min_length=1,
        description="ordered pairs of domains that analogies are learned from, such as [MN->MM, MN->UC]; "
        "null = the pair of the task",
    )
    pairing: Pairing = Field(
        default="random",
        description="which images make an analogy a : a' :: b : b', where the source's labels are known and "
        "the target's are not. `random`: a and a' are any images of source and target, b' is any of the "
        "target, and the prompt names no class. `pseudo`: a has the class of b; a' and b' get the nearest "
        "source class in the encoder's features. `exact`: the same digit drawn in the style of both "
        "domains, with the prompt of its class; no image of the target is seen. It knows how the domains "
        "were made, which adaptation does not: a control for dataset digits",
    )
    context: Context = keyed_unless_default(
        "inversion",
        "how b enters b'. `inversion`: b' is sampled from the noise that b is inverted to. `grid`: b' is "
        "painted from noise into a 2x2 image beside a, a' (of the first example) and b, as the authors do; "
        "a pass costs four times as much",
    )

    @model_validator(mode="after")
    def _heads_divide_keys(self) -> "AnalogySpec":
        if self.key_width % self.heads:
            raise ValueError(f"key_width is {self.key_width}; expected a multiple of heads = {self.heads}")
        return self


AdapterName = Literal["terra", "lora", "lorweb"]


@dataclass(frozen=True)
class AdapterType:
    """What suites and planning know about a type of adapter. Its class is registered in diffusion/adapters.

    Attributes:
        condition: What the update depends on beside its weights: a time t, an analogy, or nothing.
        settings: The settings of suites in which adapters of this type can be used.
    """

    condition: Literal["t", "analogy"] | None
    settings: tuple[Setting, ...] = ("uda", "dg")


ADAPTER_TYPES: dict[AdapterName, AdapterType] = {
    "terra": AdapterType(condition="t"),
    "lora": AdapterType(condition=None),
    "lorweb": AdapterType(condition="analogy", settings=("uda",)),
}
"""All types of adapters, by their name in suites."""


class AdapterSpec(Strict):
    """A low-rank adapter on every layer of the named types.

    Terra updates weights by dW(t) = alpha / rank * B K(t) A. A LoRA has no K. A LoRWeB is a mix of LoRAs,
    dW = alpha / rank * sum_i w_i B_i A_i, whose weights w depend on an analogy.
    """

    type: AdapterName = Field(default="terra", description="which adapter")
    form: Literal["linear", "exponential", "cosine"] = Field(
        default="linear",
        description="terra: K(t). `linear`: I + sum_d t_d W_d. `exponential`: exp(sum_d t_d W_d). `cosine`: "
        "sums of a_d cos(t_d w_d) on the diagonal and of a_d sin(t_d w_d) beside it",
    )
    diagonal: bool = keyed_unless_default(
        False, "terra: K(t) is diagonal, with rank learned numbers instead of rank squared"
    )
    t_dim: TDim = keyed_unless_default(1, "terra: dimensions of the time t, from 1 to 3; 1 under uda")
    rank: Count = Field(default=32, description="rank of the update; of each LoRA of a LoRWeB")
    alpha: Rate = Field(default=32.0, description="the update is multiplied by alpha / rank")
    first_down: Literal["fan_in", "rank"] = keyed_unless_default(
        "fan_in",
        "how A is drawn before training. `fan_in`: uniformly between +-1 / sqrt(inputs of the layer). "
        "`rank`: as the adapter's authors do: terra and lora N(0, 1 / rank^2); lorweb uniformly between "
        "+-1 / sqrt(inputs * rank)",
    )
    layers: list[Literal["Linear", "Conv2d"]] = Field(
        default=["Linear", "Conv2d"], description="types of the layers that are adapted"
    )
    include: Pattern = Field(
        default=".*", description="regular expression that the whole name of an adapted layer matches"
    )
    analogy: AnalogySpec | None = keyed_unless_default(
        None, "lorweb: its basis, its encoder and the analogies that it learns from"
    )

    @property
    def width(self) -> int:
        """The rank of all that it learns: for a LoRWeB, of the whole basis."""
        return self.rank * (self.analogy.basis if self.analogy else 1)

    @property
    def has_time(self) -> bool:
        """Whether the update varies with a time t."""
        return ADAPTER_TYPES[self.type].condition == "t"

    @property
    def has_analogy(self) -> bool:
        """Whether the update varies with an analogy."""
        return ADAPTER_TYPES[self.type].condition == "analogy"

    @property
    def context(self) -> Context:
        """How a source image enters the image made from it: by inversion, unless its analogy is in a grid."""
        return "inversion" if self.analogy is None else self.analogy.context

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings of suites in which this adapter can be used."""
        return ADAPTER_TYPES[self.type].settings

    @model_validator(mode="before")
    @classmethod
    def _analogy_has_defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("analogy") is not None:
            return value
        named = [known for name, known in ADAPTER_TYPES.items() if name == value.get("type")]
        return value | {"analogy": {}} if named and named[0].condition == "analogy" else value

    @model_validator(mode="after")
    def _only_fields_of_its_type(self) -> "AdapterSpec":
        given = self.model_fields_set & {"form", "diagonal", "t_dim"}
        if not self.has_time and (self.form, self.diagonal, self.t_dim) != ("linear", False, 1):
            raise ValueError(
                f"type {self.type} has no K(t), so that it takes no {' or '.join(sorted(given))}"
            )
        if self.analogy is not None and not self.has_analogy:
            takers = [name for name, known in ADAPTER_TYPES.items() if known.condition == "analogy"]
            raise ValueError(f"analogy is for type {' or '.join(takers)}, not {self.type}")
        return self
