"""The parameters of each kind of job, as its key hashes them."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pipeline.config.analogies import Context
from pipeline.config.base import Count, Fraction, Precision, Rate, Seed, Setting, Strict, later
from pipeline.config.cards import BuiltCard, FolderCard
from pipeline.config.morph import MorphMethod, MorphSettings
from pipeline.config.suites import (
    AdapterSpec,
    BaseModelSpec,
    FinetuneSettings,
    Guidance,
    LatentStatistics,
    TrainSettings,
    method_label,
)
from pipeline.config.t_predictor import GridSettings


class PrepareParams(Strict):
    """What `prepare` makes: every domain of a card, as arrays or as a list of files."""

    card: BuiltCard | FolderCard


class PairParams(Strict):
    """What stages one and two know of an ordered pair of domains: words of the classes, never the target's labels."""

    source: str
    target: str
    words: list[str]


def prompt(template: str, word: str) -> str:
    """`template` with the words of a class in the place of {class}."""
    return template.replace("{class}", word)


class DomainsParams(Strict):
    """What stage one knows of the source domains under dg; of the domain held out, not even its name."""

    sources: list[str] = Field(min_length=1)
    words: list[str]


class AnalogiesParams(Strict):
    """What stage one of a LoRWeB knows: the ordered pairs of domains between which its analogies are."""

    pairs: list[PairParams] = Field(min_length=1)


class FinetuneParams(Strict):
    """Stage one, for one ordered pair (uda), several of them (uda, LoRWeB) or several source domains (dg).

    Two of the three are None.
    """

    pair: PairParams | None
    domains: DomainsParams | None = Field(default=None, exclude_if=lambda domains: domains is None)
    analogies: AnalogiesParams | None = later(None, "of a LoRWeB")
    base_model: BaseModelSpec
    adapter: AdapterSpec
    settings: FinetuneSettings
    threads: Count


class InversionSettings(Strict):
    """How images are taken to noise (see GenerateSettings). Images from noise start at depth 1."""

    depth: float
    refinements: int
    statistics: LatentStatistics


class SamplingParams(Strict):
    """What all jobs of stage two are told."""

    base_model: BaseModelSpec
    guidance: Guidance
    steps: Count
    batch_size: Count
    scale: Rate
    precision: Precision = later("fp32", "of the model's weights and passes")
    source_prompt: str
    target_prompt: str
    seed: Seed
    threads: Count


class GenerateParams(SamplingParams):
    """Stage two: one set of images. `pair` is None for `base`, which knows no domain."""

    contents: Literal["adapted", "generated", "base"]
    pair: PairParams | None
    words: list[str]
    per_class: Count | None = Field(
        description="images of each class; null = every source image (adapted alone)"
    )
    inversion: InversionSettings
    context: Context = later("inversion", "of images made by analogy (see AnalogySpec)")


class InterpolateParams(SamplingParams):
    """Stage two under dg: images of every class at the points of a grid of t. inversion: of images made from sources."""

    domains: DomainsParams
    grid: GridSettings
    inversion: InversionSettings


class PairLorasParams(Strict):
    """Stage one under dg, for morphs: two LoRAs for each pair of images of one class from two of the domains."""

    domains: DomainsParams
    base_model: BaseModelSpec
    pairs: Count = Field(description="for each class and each two domains")
    prompt: str = Field(description="with {class}")
    morph: MorphSettings
    threads: Count


class BetweenParams(PairLorasParams):
    """Stage two under dg, by morphs: images between the two of each of those pairs."""

    method: MorphMethod
    frames: Count = Field(description="between the two images of a pair")


class FlowParams(SamplingParams):
    """Stage two, for the picture of a domain flow: source images of `pair` at every one of `times`."""

    pair: PairParams
    inversion: InversionSettings
    examples: Count
    times: list[float]


def task_name(setting: Setting, sources: Sequence[str], target: str) -> str:
    """How a task is called: `MN->MM` (uda), `->MM` (dg, the domain held out)."""
    return f"->{target}" if setting == "dg" else f"{sources[0]}->{target}"


class TrainParams(Strict):
    """Stage three: one training of one method on one task. sources: one domain under uda, two or more under dg."""

    dataset: str
    setting: Setting
    sources: list[str] = Field(min_length=1)
    target: str
    classes: list[str]
    image_size: Count
    method: str
    hyperparameters: dict[str, float | int | bool | str]
    augmentation: str
    made_fraction: Fraction | None
    made_weight: Rate
    settings: TrainSettings
    selections: list[str]
    seed: Seed
    threads: Count

    @property
    def task(self) -> str:
        """As records name it."""
        return task_name(self.setting, self.sources, self.target)

    def identity(self) -> dict[str, str | int]:
        """The columns of its records that are known before it has run."""
        return {
            "dataset": self.dataset,
            "setting": self.setting,
            "task": self.task,
            "method": method_label(self.method, self.settings),
            "augmentation": self.augmentation,
            "backbone": self.settings.backbone,
            "seed": self.seed,
        }
