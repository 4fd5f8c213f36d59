"""The typed, validated form of suites, dataset cards and job parameters.

Every YAML that a user writes becomes one of the models below, or one sentence that names the file, the line, the
field, and what was expected. Imports no torch, so that `plan`, `tables` and `--help` answer at once.
"""

import difflib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pipeline.errors import UserError
from pipeline.store import sha256

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: holds benchmarks/, datasets/ and results/."""

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Setting = Literal["uda", "dg"]

MADE_SETS = {"none": (), "base": ("base",), "terra": ("adapted", "generated")}
"""Which sets of made images an augmentation may bring into training."""


class Strict(BaseModel):
    """A model that refuses unknown keys and cannot be changed once made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------------------------------------- dataset cards


class DomainCard(Strict):
    """One domain of a dataset: its full name and the number of images of each split."""

    name: str
    train: Count
    test: Count
    sha256: str
    about: str = ""


class DatasetCard(Strict):
    """datasets/NAME.yaml."""

    name: str
    title: str
    builder: Literal["digits"]
    image_size: Count
    classes: list[str]
    prompt_words: dict[str, str] = {}
    domains: dict[str, DomainCard]
    seed: Seed = 0
    licence: str
    citation: str

    def word(self, label: int) -> str:
        """The words that stand for class `label` in a prompt: lower case, underscores as spaces, unless reworded."""
        name = self.classes[label]
        return self.prompt_words.get(name, name.lower().replace("_", " "))

    @model_validator(mode="after")
    def _reworded_classes_exist(self) -> "DatasetCard":
        unknown = set(self.prompt_words) - set(self.classes)
        if unknown:
            raise ValueError(f"prompt_words names {sorted(unknown)}, which are not among classes")
        return self


# ------------------------------------------------------------------------------------------------------ suites


class BaseModelSpec(Strict):
    """The diffusion model: `mini`, or any diffusers folder or hub id, with the resolution it works at."""

    name: str
    resolution: Count = 32
    revision: str | None = None


class AdapterSpec(Strict):
    """A low-rank adapter on every layer of the types named: Terra, dW(t) = alpha / rank * B K(t) A, or a plain LoRA.

    form: linear, K(t) = I + sum_d t_d W_d; exponential, exp(sum_d t_d W_d); cosine, sums of a_d cos(t_d w_d) on the
    diagonal and of a_d sin(t_d w_d) off it (pipeline/diffusion/adapters/terra/forms.py).
    """

    type: Literal["terra", "lora"] = "terra"
    form: Literal["linear", "exponential", "cosine"] = "linear"
    diagonal: bool = Field(
        default=False, description="K(t) is diagonal: rank numbers instead of rank squared"
    )
    t_dim: Annotated[int, Field(ge=1, le=3)] = Field(default=1, description="dimensions of the time t")
    rank: Count = 32
    alpha: Rate = 32.0
    layers: list[Literal["Linear", "Conv2d"]] = ["Linear", "Conv2d"]
    include: str = Field(
        default=".*", description="regular expression that the names of adapted layers match"
    )

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out what came later and is at its default: the keys of jobs, hashes of this, stay what they were."""
        later = {"diagonal": False, "t_dim": 1}
        return {n: value for n, value in dump(self).items() if n not in later or value != later[n]}

    @model_validator(mode="after")
    def _a_lora_has_no_time(self) -> "AdapterSpec":
        given = self.model_fields_set & {"form", "diagonal", "t_dim"}
        if self.type == "lora" and (self.form, self.diagonal, self.t_dim) != ("linear", False, 1):
            raise ValueError(f"type lora has no K(t), so that it takes no {' or '.join(sorted(given))}")
        return self


class FinetuneSettings(Strict):
    """Stage one. Defaults: the Terra authors' settings where they fit any model."""

    steps: Count = 5000
    batch_size: Count = Field(default=4, description="images of each domain in a step")
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


class Guidance(Strict):
    """How predictions with and without the prompt are combined (see pipeline/diffusion/sampling.py)."""

    weight: Annotated[float, Field(ge=0)] = 7.5
    content_scale: Fraction = Field(
        default=1.0,
        description="share of the adapter's update in the model that guides the class: 1 = classifier-free guidance, "
        "0 = the base model guides, for it knows the prompts, which no target image was trained with",
    )


LatentStatistics = Literal["own", "noise", "target"]


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
    """When weights are averaged (see pipeline/classify/averaging.py): counts are of evaluations."""

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
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="of the network's passes; weights and losses are fp32 in any case"
    )
    schedule: Literal["inverse", "constant", "cosine"] = "inverse"
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
    hyperparameters: dict[str, float | int | bool | str] = {}
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
    finetune: FinetuneSettings
    generate: GenerateSettings
    mix: Mix = Mix()
    methods: list[MethodSpec] = Field(min_length=1)
    augmentations: list[Literal["none", "base", "terra"]] = Field(min_length=1)
    train: TrainSettings
    seeds: list[Seed] = Field(min_length=1)
    selections: list[Literal["last", "source", "unsupervised", "oracle"]] = ["last"]
    metric: Literal["accuracy", "class_mean"] = Field(
        default="accuracy",
        description="what tables show: the share of right images, or the mean of the classes' shares, with a table "
        "of the classes for every task, as is usual for VisDA",
    )
    threads: Count = Field(
        default=1, description="CPU threads of a job: part of the record, for sums depend on it"
    )

    def train_settings(self, method: MethodSpec) -> TrainSettings:
        """`train` with what `method` has otherwise."""
        return TrainSettings.model_validate(dict(self.train) | method.train)

    def label(self, method: MethodSpec) -> str:
        """As records and tables name `method`."""
        return method.label or method_label(method.name, self.train_settings(method))

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
    def _fits_the_setting(self) -> "Suite":
        if self.setting == "uda":
            if self.mix.made_weight != 1:
                raise ValueError("mix.made_weight is for setting dg alone; under uda, say mix.made_fraction")
            if self.adapter.t_dim != 1:
                raise ValueError(
                    f"adapter.t_dim is {self.adapter.t_dim}, but setting uda has its source at t = 0 and its "
                    "target at t = 1; take t_dim: 1"
                )
            return self
        if "unsupervised" in self.selections:
            raise ValueError(
                "selections: 'unsupervised' looks at the target's images, which setting dg holds out; "
                "take last, source or oracle"
            )
        if "terra" in self.augmentations:
            raise ValueError(
                "augmentations: 'terra' cannot be made under setting dg yet, for it learns from the target's "
                "images; take none or base"
            )
        if self.mix.made_fraction is not None:
            raise ValueError(
                "mix.made_fraction is for setting uda alone; under dg made images are a domain of their own, "
                "with mix.made_weight"
            )
        return self


# --------------------------------------------------------------------------------------------- job parameters


class PrepareParams(Strict):
    """What `prepare` makes: every domain of a card as arrays."""

    card: DatasetCard


class PairParams(Strict):
    """What stages one and two know of an ordered pair of domains: words of the classes, never the target's labels."""

    source: str
    target: str
    words: list[str]


def prompt(template: str, word: str) -> str:
    """`template` with the words of a class in the place of {class}."""
    return template.replace("{class}", word)


class FinetuneParams(Strict):
    """Stage one for one ordered pair."""

    pair: PairParams
    base_model: BaseModelSpec
    adapter: AdapterSpec
    settings: FinetuneSettings
    threads: Count


class InversionSettings(Strict):
    """How images are taken to noise (see GenerateSettings). Images from noise start at depth 1."""

    depth: float
    refinements: int
    statistics: LatentStatistics


class GenerateParams(Strict):
    """Stage two: one set of images. `pair` is None for `base`, which knows no domain."""

    contents: Literal["adapted", "generated", "base"]
    pair: PairParams | None
    words: list[str]
    per_class: Count | None = Field(
        description="images of each class; null = every source image (adapted alone)"
    )
    base_model: BaseModelSpec
    guidance: Guidance
    inversion: InversionSettings
    steps: Count
    batch_size: Count
    scale: Rate
    source_prompt: str
    target_prompt: str
    seed: Seed
    threads: Count


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
    augmentation: Literal["none", "base", "terra"]
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


# ----------------------------------------------------------------------------------------------------- reading

Model = TypeVar("Model", bound=BaseModel)


def nearest(wrong: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown name: those that exist, and the nearest."""
    known = sorted(known)
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(wrong.lower(), by_lower, n=1, cutoff=0.4)
    hint = f"; did you mean {by_lower[close[0]]!r}?" if close else ""
    return f"there are: {', '.join(known) or 'none'}{hint}"


@dataclass(frozen=True)
class _Document:
    """One YAML file: its parse tree, which knows the lines, and its keys and values."""

    path: Path
    root: yaml.Node
    data: dict[str, Any]


def _place(root: yaml.Node, path: tuple[str | int, ...]) -> tuple[int, int]:
    """How much of `path` stands in a document, and the line (from 1) of the deepest part of it that does."""
    node, line = root, root.start_mark.line
    for depth, step in enumerate(path):
        children: list[tuple[Any, yaml.Node, int]] = []
        if isinstance(node, yaml.MappingNode):
            children = [(key.value, value, key.start_mark.line) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = [(i, value, value.start_mark.line) for i, value in enumerate(node.value)]
        found = [(value, at) for key, value, at in children if key == step]
        if not found:
            return depth, line + 1
        node, line = found[0]
    return len(path), line + 1


def _fields_at(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The keys that the model at `path` takes (empty where that is no model)."""
    current: Any = model
    for step in path:
        if isinstance(step, str) and isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(step)
            current = field.annotation if field else None
        else:
            current = next(iter(getattr(current, "__args__", ())), None)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _explain(error: ValidationError, documents: Sequence[_Document], model: type[BaseModel]) -> str:
    first = error.errors()[0]
    where = first["loc"]
    field = ".".join(map(str, where)) or "the document"
    more = f" ({error.error_count() - 1} more after it)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        told = f"unknown key; {nearest(str(where[-1]), _fields_at(model, where[:-1]))}"
    elif first["type"] == "missing":
        told = "this field is missing"
    elif first["type"] == "literal_error":
        known = re.findall("'([^']*)'", first["ctx"]["expected"])
        told = f"{first['input']!r} is none of its values; {nearest(str(first['input']), known)}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        told = message[0].lower() + message[1:]
        if not isinstance(first["input"], dict | list):
            told += f", not {first['input']!r}"
    places = [(_place(document.root, where), document.path) for document in documents]
    (_, line), path = max(places, key=lambda place: place[0][0])  # of equals the first: the file itself
    return f"{path}, line {line}, {field}: {told}{more}"


def _read(path: Path) -> _Document:
    """The document at `path`; UserError with the file and the line if it is none of keys and values."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    try:
        root, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise UserError(f"{path}{line}: this is not valid YAML: {problem}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected keys and values at the top level")
    return _Document(path, root, data)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`below` with what `above` has otherwise: mappings key by key, anything else as a whole."""
    both = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return below | above | both


def _validated(documents: Sequence[_Document], model: type[Model]) -> Model:
    """A `model` of several documents, each of which overrides those after it."""
    try:
        return model.model_validate(reduce(_merged, [document.data for document in reversed(documents)]))
    except ValidationError as error:
        raise UserError(_explain(error, documents, model)) from error


def card_folder() -> Path:
    """Where dataset cards are."""
    return ROOT / "datasets"


def read_card(name: str) -> DatasetCard:
    """The dataset card called `name`."""
    path = card_folder() / f"{name}.yaml"
    if not path.exists():
        raise UserError(
            f"there is no dataset {name!r}; {nearest(name, (p.stem for p in card_folder().glob('*.yaml')))}"
        )
    return _validated([_read(path)], DatasetCard)


def _suite_path(given: str | Path, folder: Path) -> Path:
    """The file of a suite: a path, seen from `folder`, or the name of one under benchmarks/."""
    path = Path(given)
    found = folder / path if path.suffix in (".yaml", ".yml") else ROOT / "benchmarks" / f"{path.name}.yaml"
    if not found.exists():
        raise UserError(
            f"there is no suite {str(given)!r}; under benchmarks/ "
            + nearest(path.stem, (p.stem for p in (ROOT / "benchmarks").glob("*.yaml")))
        )
    return found


def read_suite(path: str | Path) -> Suite:
    """The suite at `path`, or the one of that name under benchmarks/, over the suites that it extends."""
    documents = [_read(_suite_path(path, Path()))]
    while "extends" in documents[-1].data:
        last = documents[-1]
        extended = last.data.pop("extends")
        where = f"{last.path}, line {_place(last.root, ('extends',))[1]}, extends"
        if not isinstance(extended, str):
            raise UserError(f"{where}: expected the name or the path of one suite, not {extended!r}")
        try:
            found = _suite_path(extended, last.path.parent)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        if any(found.samefile(document.path) for document in documents):
            raise UserError(f"{where}: {found} would extend itself; one of the two has to stand alone")
        documents.append(_read(found))
    return _validated(documents, Suite)


MINI = ROOT / "pipeline" / "diffusion" / "mini" / "weights"


def base_model_path(spec: BaseModelSpec) -> str:
    """What `DiffusionPipeline.from_pretrained` is given: a folder, or a hub id."""
    return str(MINI) if spec.name == "mini" else spec.name


def resolve_base_model(spec: BaseModelSpec) -> BaseModelSpec:
    """`spec` with a revision that identifies the weights, so that a job's key changes when they do.

    A folder's revision is a hash of the names and sizes of its files and of the contents of those up to 64 MiB
    (the whole of `mini`); a hub id keeps the revision that the suite states.
    """
    folder = Path(base_model_path(spec))
    if not folder.is_dir():
        if spec.name == "mini" or os.path.isabs(spec.name) or spec.name.startswith("."):
            raise UserError(f"base_model {spec.name!r}: there is no folder {folder}")
        return spec
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".txt")):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)} {size}\n".encode())
        if size <= 64 * 2**20:
            digest.update(path.read_bytes())
    return spec.model_copy(update={"revision": digest.hexdigest()[:16]})


SMALL = "digits_cnn"
"""The one backbone that is not of timm."""

HUB = "hub"
"""What `pretrained` says for weights that timm fetches."""


def resolve_pretrained(suite: Suite) -> Suite:
    """`suite` with the hash of each method's file of pretrained weights, so that a training's key changes with it.

    UserError if a file is not there, or is not the one whose hash the suite states.
    """
    methods, hashed = [], cache(sha256)
    for method in suite.methods:
        settings = suite.train_settings(method)
        found = None
        if settings.pretrained not in (None, HUB):
            found = _hash_of_weights(settings, f"method {suite.label(method)}: ", hashed)
        told = {"pretrained_sha256": found} if found != suite.train.pretrained_sha256 else {}
        methods.append(method.model_copy(update={"train": method.train | told}))
    return suite.model_copy(update={"methods": methods})


def _hash_of_weights(settings: TrainSettings, what: str, hashed: Callable[[Path], str]) -> str:
    """The hash of the file `settings.pretrained`."""
    path = Path(str(settings.pretrained))
    if not path.is_file():
        raise UserError(
            f"{what}train.pretrained: there is no file {path}; expected hub, a file's path, or null"
        )
    found = hashed(path)
    if settings.pretrained_sha256 not in (None, found):
        raise UserError(
            f"{what}train.pretrained: {path} has sha256 {found[:16]}…, "
            f"but train.pretrained_sha256 is {str(settings.pretrained_sha256)[:16]}…"
        )
    return found
