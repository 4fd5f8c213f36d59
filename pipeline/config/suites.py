"""benchmarks/NAME.yaml: what to compare."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.adapters import AdapterSpec
from pipeline.config.base import Count, Fraction, Rate, Seed, Setting, Strict, check_each_once, nearest
from pipeline.config.base_model import BaseModelSpec
from pipeline.config.finetune import FinetuneSettings
from pipeline.config.generate import GenerateSettings
from pipeline.config.morph import MORPHS
from pipeline.config.names import PathName, SuiteName, file_stem, first_equal_pair
from pipeline.config.t_predictor import TPredictorSettings
from pipeline.config.train import MethodSpec, TrainSettings, method_label
from pipeline.config.zero_shot import ZERO_SHOT

CONTROLS = ("none", "base")
"""The augmentations without an adapter: nothing, and images of the base model as it is."""

MADE_SETS = ("base", "adapted", "generated", "interpolated")
"""The sets of made images that enter training, in the order in which they are joined."""


class Mix(Strict):
    """The composition of a labelled batch when made images enter training."""

    sets: list[Literal["adapted", "generated"]] = Field(
        default=["adapted", "generated"],
        min_length=1,
        description="uda: the sets of made images that enter training",
    )
    made_fraction: Fraction | None = Field(
        default=None,
        description="uda: share of made images in a labelled batch, from 0 to 1; null = their share among "
        "all labelled images",
    )
    made_weight: Rate = Field(
        default=1.0, description="dg: weight of a made image in the task loss; a real image weighs 1"
    )


class Suite(Strict):
    """A suite of setting uda or dg."""

    name: SuiteName = Field(description="name of the suite, and of its results folder")
    title: str = Field(description="title of its page and tables")
    dataset: str = Field(description="name of a dataset card under datasets/")
    setting: Setting = Field(description="`uda`: unsupervised domain adaptation. `dg`: domain generalisation")
    tasks: Literal["all"] | list[str] = Field(
        description="`all`, or a list: SOURCE->TARGET (uda) or ->TARGET, the held-out domain (dg)"
    )
    base_model: BaseModelSpec = Field(description="the pretrained diffusion model")
    adapter: AdapterSpec = Field(description="the adapter; its type is its name among augmentations")
    adapters: dict[Annotated[PathName, Field(pattern=r"^[\w.-]+$")], AdapterSpec] = Field(
        default={}, description="more adapters by name; each name can be an augmentation"
    )
    t_predictor: TPredictorSettings = Field(
        default=TPredictorSettings(), description="dg: the network that gives each source image its time t"
    )
    finetune: FinetuneSettings = Field(description="stage one")
    generate: GenerateSettings = Field(description="stage two")
    mix: Mix = Field(default=Mix(), description="how made images enter training")
    methods: list[MethodSpec] = Field(
        min_length=1, description="classifier methods, by name or with hyper-parameters"
    )
    augmentations: list[str] = Field(
        min_length=1,
        description="what enters training beside the source images: `none`, `base` (the control), or the "
        "images made with an adapter, by its name; under dg also a morphing method, `lora_interp` or "
        "`diffmorpher`",
    )
    train: TrainSettings = Field(description="stage three")
    seeds: list[Seed] = Field(min_length=1, description="seeds of the trainings, of which each cell has one")
    selections: list[Literal["last", "source", "unsupervised", "oracle"]] = Field(
        default=["last"],
        description="rules of checkpoint selection, each of which gives a record. `last`: the last iterate. "
        "`source`: the highest accuracy on held-out source images. `unsupervised` (uda): the best score on "
        "unlabelled target images. `oracle`: the highest accuracy on the target's test labels, an upper "
        "limit",
    )
    metric: Literal["accuracy", "class_mean"] = Field(
        default="accuracy",
        description="what tables show: `accuracy`, the share of correct images, or `class_mean`, the mean "
        "over classes of that share, with a table of the classes for every task, as is usual for VisDA",
    )
    threads: Count = Field(
        default=1,
        description="CPU threads of a job; part of its key, because rounding depends on it",
    )

    def adapter_of(self, augmentation: str) -> AdapterSpec | None:
        """Return the adapter whose images an augmentation adds; None for an augmentation without one."""
        return self._adapters.get(augmentation)

    @property
    def classifiers(self) -> list[MethodSpec]:
        """The methods that train classifiers."""
        return self.methods

    @property
    def uses_base_model(self) -> bool:
        """Whether any job needs the base model."""
        return bool(set(self.augmentations) - {"none"})

    @property
    def used_adapters(self) -> list[AdapterSpec]:
        """The adapters that are fine-tuned."""
        specs = map(self.adapter_of, self.augmentations)
        return [spec for spec in specs if spec is not None]

    @property
    def optimizers(self) -> list[str]:
        """The optimizers of fine-tuning."""
        return [self.finetune.optimizer] if self.used_adapters else []

    @property
    def backbones(self) -> "list[TrainSettings]":
        """The different settings of stage three, which name backbones and their weights."""
        trained = (method for method in self.methods if not method.zero_shot)
        return list(dict.fromkeys(map(self.train_settings, trained)))

    @property
    def _adapters(self) -> dict[str, AdapterSpec]:
        return {self.adapter.type: self.adapter} | self.adapters

    def train_settings(self, method: MethodSpec) -> TrainSettings:
        """Return `train` with the settings that are different for `method`."""
        return TrainSettings.model_validate(dict(self.train) | method.train)

    def augmentations_of(self, method: MethodSpec) -> list[str]:
        """Return the augmentations with which `method` has rows; one that is not trained has `none` alone."""
        return ["none"] if method.zero_shot else self.augmentations

    def backbone_of(self, method: MethodSpec) -> str:
        """Return the network of `method`: its backbone, or the model of one that is not trained."""
        return method.zero_shot.model if method.zero_shot else self.train_settings(method).backbone

    def label(self, method: MethodSpec) -> str:
        """Return the name of `method` in records and tables."""
        if method.zero_shot:
            return method.label or f"{method.name} zero-shot"
        return method.label or method_label(method.name, self.train_settings(method))

    @model_validator(mode="after")
    def _base_model_has_a_resolution(self) -> "Suite":
        self.base_model.require_resolution()
        resolution, side = self.base_model.resolution, self.generate.save_size
        if side is not None and side > resolution:
            raise ValueError(
                f"generate.save_size is {side}, larger than base_model.resolution, {resolution}, at which "
                "images are sampled; take a smaller size, or null"
            )
        return self

    @field_validator("tasks", "augmentations", "seeds", "selections")
    @classmethod
    def _repeats_nothing(cls, values: list[str] | list[int] | str) -> list[str] | list[int] | str:
        if not isinstance(values, str):
            check_each_once(values)
        return values

    @model_validator(mode="after")
    def _augmentations_exist(self) -> "Suite":
        known = [*CONTROLS, *self._adapters, *(MORPHS if self.setting == "dg" else ())]
        taken = set(self.adapters) & {*CONTROLS, *MORPHS, self.adapter.type}
        if taken:
            raise ValueError(f"adapters: the name {min(taken)!r} is taken; choose another")
        for name in self.augmentations:
            if name not in known:
                raise ValueError(f"augmentations: {name!r} does not exist; {nearest(name, known)}")
        return self

    @model_validator(mode="after")
    def _methods_are_valid_and_have_own_labels(self) -> "Suite":
        for method in self.methods:
            self.train_settings(method)
        labels = [self.label(method) for method in self.methods]
        repeated = {label for label in labels if labels.count(label) > 1}
        if repeated:
            raise ValueError(f"methods names {sorted(repeated)} more than once; give each a label of its own")
        pair = first_equal_pair((label, file_stem(label).casefold()) for label in labels)
        if pair is not None:
            raise ValueError(
                f"methods: the figures of {pair[0]!r} and {pair[1]!r} would be files of one name, because "
                "the labels differ in case or signs only; give one of them another label"
            )
        return self

    @model_validator(mode="after")
    def _zero_shot_has_a_row(self) -> "Suite":
        for method in self.methods:
            if method.zero_shot and "none" not in self.augmentations:
                raise ValueError(
                    f"methods: {method.name} is zero-shot and takes no made images; add none to "
                    "augmentations, or leave it out"
                )
        return self

    @model_validator(mode="after")
    def _validation_images_can_be_drawn(self) -> "Suite":
        for name in self.augmentations:
            spec = self.adapter_of(name)
            if self.finetune.validate_every and spec and spec.context == "grid":
                raise ValueError(
                    f"finetune.validate_every draws images from prompts alone, but adapter {name} paints "
                    "into a grid of other images (analogy.context: grid); leave validate_every out, or take "
                    "context: inversion"
                )
        return self

    @model_validator(mode="after")
    def _made_images_can_be_read(self) -> "Suite":
        whole = self.generate.keep_aspect and self.generate.save_size is None
        for method in (each for each in self.methods if not each.zero_shot):
            if whole and self.train_settings(method).crop == "none":
                raise ValueError(
                    f"generate.keep_aspect makes images of several sizes, but method {self.label(method)} "
                    "has crop: none, which reads images of one size; state generate.save_size, or a crop"
                )
        return self

    @model_validator(mode="after")
    def _images_can_be_encoded(self) -> "Suite":
        for name in self.augmentations:
            spec = self.adapter_of(name)
            if self.finetune.encoding == "fresh" and spec and spec.has_analogy:
                raise ValueError(
                    f"finetune.encoding: fresh is for adapters terra and lora, but {name} is a {spec.type}; "
                    "take encoding: cached"
                )
        return self

    @model_validator(mode="after")
    def _fits_the_setting(self) -> "Suite":
        if self.setting == "uda":
            self._fits_uda()
        else:
            self._fits_dg()
        return self

    def _fits_uda(self) -> None:
        """Raise ValueError for settings of dg."""
        if self.mix.made_weight != 1:
            raise ValueError("mix.made_weight is for setting dg alone; under uda, set mix.made_fraction")
        if "domainbed" in {self.train.protocol, *(one.train.get("protocol") for one in self.methods)}:
            raise ValueError("train.protocol: domainbed is for setting dg alone; leave it out under uda")
        if self.finetune.pooled:
            raise ValueError(
                "finetune.pooled is for setting dg alone; under uda a step has as many images of the source "
                "as of the target"
            )
        for name in self.augmentations:
            spec = self.adapter_of(name)
            if spec is not None and spec.t_dim != 1:
                raise ValueError(
                    f"t_dim of adapter {name} is {spec.t_dim}, but setting uda has its source at t = 0 and "
                    "its target at t = 1; take t_dim: 1"
                )

    def _fits_dg(self) -> None:
        """Raise ValueError for settings of uda, and for those that use images of the held-out domain."""
        for name in self.augmentations:
            spec = self.adapter_of(name)
            if spec is not None and "dg" not in spec.settings:
                raise ValueError(
                    f"adapter {name} is a {spec.type}, which is for setting uda alone; under dg take a terra"
                )
        if self.train.protocol == "domainbed" and any(one.zero_shot for one in self.methods):
            raise ValueError(
                f"method {ZERO_SHOT} is scored on all of the target's images, and train.protocol: domainbed "
                "scores 80 % of them; leave one of the two out"
            )
        if "unsupervised" in self.selections:
            raise ValueError(
                "selections: 'unsupervised' looks at the target's images, which setting dg holds out; "
                "take last, source or oracle"
            )
        if self.generate.grid.start == "source" and self.generate.inversion_statistics == "target":
            raise ValueError(
                "generate.inversion_statistics: 'target' looks at the target's images, which setting dg "
                "holds out; take own or noise"
            )
        if self.mix.made_fraction is not None:
            raise ValueError(
                "mix.made_fraction is for setting uda alone; under dg made images are a domain of their own, "
                "with mix.made_weight"
            )
