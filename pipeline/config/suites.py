"""benchmarks/NAME.yaml: the form of a suite, and of what its stages are told."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.analogies import AnalogySpec
from pipeline.config.base import (
    Count,
    Fraction,
    Precision,
    Rate,
    Seed,
    Setting,
    Strict,
    check_each_once,
    later,
    nearest,
)
from pipeline.config.morph import MORPHS, BetweenSettings
from pipeline.config.t_predictor import GridSettings, TPredictorSettings

CONTROLS = ("none", "base")
"""The augmentations that no adapter makes: nothing, and images of the un-adapted base model."""

MADE_SETS = ("base", "adapted", "generated", "interpolated")
"""The sets of made images that may enter training, in the order in which they are joined."""


NAMED_MODELS: dict[str, dict[str, Any]] = {
    "mini": {"resolution": 32},
    "sd15": {"resolution": 512},
    "sdxl": {"resolution": 1024, "vae": "madebyollin/sdxl-vae-fp16-fix"},
}
"""The base models that have names, and what a suite that says nothing else has of them."""


class BaseModelSpec(Strict):
    """The diffusion model: `mini`, `sd15`, `sdxl`, or any diffusers folder or hub id, and the resolution it works at.

    SDXL comes with the VAE that the Terra authors took, for SDXL's own overflows in fp16; `vae: null` is its own.
    """

    name: str
    resolution: Count = 32
    revision: str | None = None
    vae: str | None = later(None, "a folder or hub id of another VAE than the model's own")
    vae_revision: str | None = later(None, "of that VAE")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return NAMED_MODELS.get(str(value.get("name")), {}) | value if isinstance(value, dict) else value


class AdapterSpec(Strict):
    """A low-rank adapter on every layer of the types named: Terra, dW(t) = alpha / rank * B K(t) A; a plain LoRA; or LoRWeB,
    dW = alpha / rank * sum_i w_i B_i A_i, a mix of LoRAs whose weights w follow from an analogy.

    form: linear, K(t) = I + sum_d t_d W_d; exponential, exp(sum_d t_d W_d); cosine, sums of a_d cos(t_d w_d) on the
    diagonal and of a_d sin(t_d w_d) off it (pipeline/diffusion/adapters/terra/forms.py).
    """

    type: Literal["terra", "lora", "lorweb"] = "terra"
    form: Literal["linear", "exponential", "cosine"] = "linear"
    # What came later is left out of keys while it is at its default: the keys of older jobs stay what they were.
    diagonal: bool = Field(
        default=False,
        exclude_if=lambda diagonal: not diagonal,
        description="K(t) is diagonal: rank numbers instead of rank squared",
    )
    t_dim: Annotated[int, Field(ge=1, le=3)] = Field(
        default=1, exclude_if=lambda t_dim: t_dim == 1, description="dimensions of the time t"
    )
    rank: Count = 32
    alpha: Rate = 32.0
    layers: list[Literal["Linear", "Conv2d"]] = Field(default=["Linear", "Conv2d"])
    include: str = Field(
        default=".*", description="regular expression that the names of adapted layers match"
    )
    analogy: AnalogySpec | None = later(None, "type lorweb: its basis, its encoder and what it learns from")

    @property
    def width(self) -> int:
        """The rank of its update: of a LoRWeB that of all its basis."""
        return self.rank * (self.analogy.basis if self.analogy else 1)

    @model_validator(mode="before")
    @classmethod
    def _a_lorweb_has_an_analogy(cls, value: Any) -> Any:
        plain = isinstance(value, dict) and value.get("type") == "lorweb" and value.get("analogy") is None
        return value | {"analogy": {}} if plain else value

    @model_validator(mode="after")
    def _terra_alone_has_a_time(self) -> "AdapterSpec":
        given = self.model_fields_set & {"form", "diagonal", "t_dim"}
        if self.type != "terra" and (self.form, self.diagonal, self.t_dim) != ("linear", False, 1):
            raise ValueError(
                f"type {self.type} has no K(t), so that it takes no {' or '.join(sorted(given))}"
            )
        if self.type != "lorweb" and self.analogy is not None:
            raise ValueError(f"analogy is for type lorweb, not {self.type}")
        return self


class ValidationSettings(Strict):
    """What the validation images of stage one show: a row for each t, a column for each of the first classes."""

    classes: Count = 4
    times: list[float] = Field(
        default=[0.0, 0.5, 1.0], min_length=1, description="uda; under dg, the mean t of each source domain"
    )
    steps: Count = Field(default=25, description="DDIM steps")
    weight: Annotated[float, Field(ge=0)] = Field(default=7.5, description="of classifier-free guidance")


class FinetuneSettings(Strict):
    """Stage one. Defaults: the Terra authors' settings where they fit any model."""

    steps: Count = 5000
    batch_size: Count = Field(
        default=4, description="images of each domain in a step, of all passes and processes together"
    )
    learning_rate: Rate = 5e-5
    middle_lr_factor: Rate = Field(default=100.0, description="learning rate of W over that of A and B")
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip_norm: Rate = 1.0
    source_prompt: str = "A {class}"
    target_prompt: str = "An image"
    unconditional: Fraction = Field(
        default=0.0, description="share of source prompts replaced by target_prompt"
    )
    early_bias: Rate = Field(
        default=1.0,
        description="timesteps are drawn as T * u**(1/early_bias): above 1, more of the noisy ones",
    )
    checkpoint_every: Count = 100
    seed: Seed = 0
    precision: Precision = later(
        "fp32", "of the frozen model and the passes; the adapter is fp32 in any case"
    )
    gradient_accumulation: Count = later(1, "passes in which a batch goes through the model")
    processes: Count = later(1, "processes of one machine that share a batch, each with a GPU of its own")
    optimizer: Literal["adamw", "adamw8bit"] = later("adamw", "adamw8bit is that of bitsandbytes")
    snr_gamma: Rate | None = later(None, "min-SNR weighting of the loss (Hang et al. 2023), who take 5")
    ema: Annotated[float, Field(gt=0, lt=1)] | None = later(
        None, "decay of the exponential moving average of the adapter, which is then what is kept"
    )
    validate_every: Count | None = later(None, "steps between validation images; null = none are made")
    validation: ValidationSettings = later(ValidationSettings(), "what they show")
    # The result does not depend on it, so that it is left out of keys.
    gradient_checkpointing: bool = Field(
        default=False, exclude=True, description="compute activations twice instead of keeping them"
    )

    @model_validator(mode="after")
    def _a_batch_can_be_shared(self) -> "FinetuneSettings":
        shares = self.processes * self.gradient_accumulation
        if self.batch_size % shares:
            raise ValueError(
                f"batch_size is {self.batch_size}; expected a multiple of processes * gradient_accumulation = {shares}"
            )
        return self


class Guidance(Strict):
    """How predictions with and without the prompt are combined (see pipeline/diffusion/sampling.py)."""

    weight: Annotated[float, Field(ge=0)] = 7.5
    content_scale: Fraction = Field(
        default=1.0,
        description="share of the adapter's update in the model that guides the class: 1 = classifier-free guidance, "
        "0 = the base model guides, for it knows the prompts, which no target image was trained with",
    )


LatentStatistics = Literal["own", "noise", "target"]


class FlowSettings(Strict):
    """The picture of a domain flow: source images at several t, from the source at 0 to the target at 1 and beyond."""

    examples: Count = Field(default=6, description="source images, one of each class in turn")
    times: list[float] = Field(default=[0.0, 0.25, 0.5, 0.75, 1.0, 1.25], min_length=1)


class GenerateSettings(Strict):
    """Stage two."""

    steps: Count = Field(default=25, description="DDIM steps, of inversion as of sampling")
    batch_size: Count = 8
    adapted: Count | None = Field(
        default=None, description="source images to adapt, balanced over classes; null = all"
    )
    generated: Count = Field(default=50, description="images per class to generate from noise")
    adapted_guidance: Guidance = Guidance(weight=1.0)
    generated_guidance: Guidance = Guidance()
    base_guidance: Guidance = Guidance()
    interpolated_guidance: Guidance = Guidance()
    grid: GridSettings = Field(default=GridSettings(), description="dg: the t at which images are made")
    between: BetweenSettings = Field(
        default=BetweenSettings(),
        description="dg: how lora_interp and diffmorpher make images between domains",
    )
    flow: FlowSettings | None = Field(
        default=None,
        description="uda: the picture that shows domains flow from source to target; null = none",
    )
    inversion_depth: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="how far towards noise a source image is inverted; 1 = all the way"
    )
    inversion_refinements: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="fixed-point iterations per inversion step: each costs as much as the step itself",
    )
    inversion_statistics: LatentStatistics = Field(
        default="own",
        description="means and deviations that inverted source images are given: their own, those of Gaussian "
        "noise, or those of inverted target images, one drawn for each",
    )
    scale: Rate = Field(default=1.0, description="factor on the adapter's update")
    precision: Precision = Field(default="fp32", description="of the model's weights and passes")
    seed: Seed = 0


class Mix(Strict):
    """What a labelled batch is made of when made images enter."""

    sets: list[Literal["adapted", "generated"]] = Field(default=["adapted", "generated"], min_length=1)
    made_fraction: Fraction | None = Field(
        default=None, description="share of made images in a labelled batch; null = their share in the pool"
    )
    made_weight: Rate = Field(
        default=1.0, description="dg: what a made image counts in the loss of the task; a real one counts 1"
    )


class Swad(Strict):
    """When weights are averaged (see pipeline/classify/training/swad.py): counts are of evaluations."""

    n_converge: Count = Field(
        default=3, description="the window whose first loss is its least where it starts"
    )
    n_tolerance: Count = Field(default=6, description="the window whose losses are too high where it ended")
    tolerance_ratio: Annotated[float, Field(ge=0)] = Field(
        default=0.3, description="how far above the first window's mean a loss is too high"
    )


class TrainSettings(Strict):
    """Stage three: one loop for every method."""

    backbone: str
    pretrained: str | None = Field(
        default=None,
        description="weights of the backbone: hub, the path of a .safetensors or .pth file, or null = from the seed",
    )
    pretrained_sha256: str | None = Field(
        default=None, description="of that file; found when a suite is opened, for the key of a training"
    )
    frozen_batchnorm: bool = Field(
        default=False, description="keep the statistics that the backbone's BatchNorm layers came with"
    )
    bottleneck: Count | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="of features, before the head"
    )
    iterations: Count
    batch_size: Count = Field(
        default=36,
        description="labelled images in a step, and as many unlabelled target images; dg: of each domain",
    )
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Rate = 0.005
    backbone_lr_factor: Rate = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    momentum: Fraction = 0.9
    clip_norm: Rate | None = Field(
        default=None, description="the greatest norm that the gradient of all weights may have; null = any"
    )
    precision: Precision = Field(
        default="fp32", description="of the network's passes; weights and losses are fp32 in any case"
    )
    schedule: Literal["inverse", "constant", "cosine"] = "inverse"
    inverse_gamma: Rate = later(
        1e-3, "of schedule inverse: the rate is multiplied by (1 + gamma * iteration)**-0.75"
    )
    holdout: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="dg: share of every source domain that is not trained on, for selection"
    )
    averaging: Literal["none", "swad"] = "none"
    swad: Swad = Swad()
    augment_shift: Annotated[int, Field(ge=0)] = Field(default=0, description="random translation, in pixels")
    crop: Literal["none", "centre", "random_resized"] = Field(
        default="none",
        description="what training sees of an image: all of it; or of 8/7 of the size that the network takes (256 "
        "for 224), the centre, or a random part enlarged or reduced to that size; evaluation takes the centre",
    )
    crop_scale: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.08, description="random_resized: the least share of an image's area in a crop"
    )
    flip: bool = Field(default=False, description="mirror half of the images that training sees; with a crop")
    evaluate_every: Count | None = Field(
        default=None,
        description="iterations; null = at the end alone (ten times if selections ask for more than last, "
        "fifty times for swad)",
    )
    checkpoint_every: Count = 500
    keep_weights: bool = False
    # The result of a training depends on neither of these, so that they are left out of its key.
    workers: Annotated[int, Field(ge=0)] = Field(
        default=0,
        exclude=True,
        description="threads that prepare batches ahead; 0 = none, which is best for images in memory",
    )
    cache_gib: Annotated[float, Field(ge=0)] = Field(
        default=8.0,
        exclude=True,
        description="GiB on disk for images decoded once, under $TERRABENCH_CACHE (results/cache)",
    )

    @model_validator(mode="after")
    def _swad_sees_enough(self) -> "TrainSettings":
        needed = self.swad.n_converge + self.swad.n_tolerance
        if self.averaging == "swad" and self.evaluate_every is not None:
            seen = self.iterations // self.evaluate_every
            if seen < needed:
                raise ValueError(
                    f"averaging: swad looks for the valley of {seen} losses, for evaluate_every is "
                    f"{self.evaluate_every} of {self.iterations} iterations; it needs at least {needed} "
                    "(swad.n_converge + swad.n_tolerance)"
                )
        return self

    @model_validator(mode="after")
    def _crop_and_shift_fit(self) -> "TrainSettings":
        if self.crop == "none" and self.flip:
            raise ValueError("flip goes with a crop: centre or random_resized")
        if self.crop != "none" and self.augment_shift:
            raise ValueError(f"augment_shift goes with crop: none, not {self.crop}")
        return self


class MethodSpec(Strict):
    """A classifier method and the hyper-parameters that differ from its defaults."""

    name: str
    label: str | None = Field(
        default=None,
        min_length=1,
        description="what tables and records call it; null = its name (see Suite.label)",
    )
    hyperparameters: dict[str, float | int | bool | str] = Field(default={})
    train: dict[str, Any] = Field(
        default={}, description="settings of `train` that this method has otherwise"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


def method_label(name: str, settings: TrainSettings) -> str:
    """How a method is called: with SWAD it is another row than without."""
    return f"{name}+SWAD" if settings.averaging == "swad" else name


class Suite(Strict):
    """benchmarks/NAME.yaml: what to compare."""

    name: str
    title: str
    dataset: str
    setting: Setting
    tasks: Literal["all"] | list[str]
    base_model: BaseModelSpec
    adapter: AdapterSpec
    adapters: dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], AdapterSpec] = Field(
        default={},
        description="more adapters by name, each of which may be an augmentation; `adapter` itself is named by its type",
    )
    t_predictor: TPredictorSettings = Field(
        default=TPredictorSettings(), description="dg: what gives each source image its t"
    )
    finetune: FinetuneSettings
    generate: GenerateSettings
    mix: Mix = Mix()
    methods: list[MethodSpec] = Field(min_length=1)
    augmentations: list[str] = Field(
        min_length=1,
        description="none, base, or the name of an adapter, whose images enter training; under dg also a way of "
        "morphing images into each other, lora_interp or diffmorpher",
    )
    train: TrainSettings
    seeds: list[Seed] = Field(min_length=1)
    selections: list[Literal["last", "source", "unsupervised", "oracle"]] = Field(default=["last"])
    metric: Literal["accuracy", "class_mean"] = Field(
        default="accuracy",
        description="what tables show: the share of right images, or the mean of the classes' shares, with a table "
        "of the classes for every task, as is usual for VisDA",
    )
    threads: Count = Field(
        default=1, description="CPU threads of a job: part of the record, for sums depend on it"
    )

    def adapter_of(self, augmentation: str) -> AdapterSpec | None:
        """The adapter whose images an augmentation brings; None for `none` and `base`."""
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
        return list(dict.fromkeys(map(self.train_settings, self.methods)))

    @property
    def _adapters(self) -> dict[str, AdapterSpec]:
        return {self.adapter.type: self.adapter} | self.adapters

    def train_settings(self, method: MethodSpec) -> TrainSettings:
        """`train` with what `method` has otherwise."""
        return TrainSettings.model_validate(dict(self.train) | method.train)

    def label(self, method: MethodSpec) -> str:
        """As records and tables name `method`."""
        return method.label or method_label(method.name, self.train_settings(method))

    @model_validator(mode="after")
    def _base_model_has_a_resolution(self) -> "Suite":
        spec = self.base_model
        if spec.name not in NAMED_MODELS and "resolution" not in spec.model_fields_set:
            raise ValueError(f"base_model {spec.name!r}: say its resolution, such as resolution: 512")
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
            raise ValueError(f"adapters: {min(taken)!r} is a name that is taken; choose another")
        for name in self.augmentations:
            if name not in known:
                raise ValueError(f"augmentations: {name!r} is none of them; {nearest(name, known)}")
        return self

    @model_validator(mode="after")
    def _methods_may_override(self) -> "Suite":
        for method in self.methods:
            self.train_settings(method)
        labels = [self.label(method) for method in self.methods]
        repeated = {label for label in labels if labels.count(label) > 1}
        if repeated:
            raise ValueError(f"methods names {sorted(repeated)} more than once; give each a label of its own")
        return self

    @model_validator(mode="after")
    def _validation_images_can_be_drawn(self) -> "Suite":
        for name in self.augmentations:
            spec = self.adapter_of(name)
            if self.finetune.validate_every and spec and spec.analogy and spec.analogy.context == "grid":
                raise ValueError(
                    f"finetune.validate_every draws images from prompts alone, but adapter {name} paints into a grid of "
                    "others (analogy.context: grid); leave it out, or take context: inversion"
                )
        return self

    @model_validator(mode="after")
    def _fits_the_setting(self) -> "Suite":
        if self.setting == "uda":
            if self.mix.made_weight != 1:
                raise ValueError("mix.made_weight is for setting dg alone; under uda, say mix.made_fraction")
            for name in self.augmentations:
                spec = self.adapter_of(name)
                if spec is not None and spec.t_dim != 1:
                    raise ValueError(
                        f"t_dim of adapter {name} is {spec.t_dim}, but setting uda has its source at t = 0 and its "
                        "target at t = 1; take t_dim: 1"
                    )
            return self
        for name in self.augmentations:
            if (spec := self.adapter_of(name)) is not None and spec.type == "lorweb":
                raise ValueError(
                    f"adapter {name} is a lorweb, which is for setting uda alone; under dg take a terra"
                )
        if "unsupervised" in self.selections:
            raise ValueError(
                "selections: 'unsupervised' looks at the target's images, which setting dg holds out; "
                "take last, source or oracle"
            )
        if self.generate.grid.start == "source" and self.generate.inversion_statistics == "target":
            raise ValueError(
                "generate.inversion_statistics: 'target' looks at the target's images, which setting dg holds out; "
                "take own or noise"
            )
        if self.mix.made_fraction is not None:
            raise ValueError(
                "mix.made_fraction is for setting uda alone; under dg made images are a domain of their own, "
                "with mix.made_weight"
            )
        return self
