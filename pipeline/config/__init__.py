"""The typed, validated form of suites and dataset cards, and what they name: folders, weights and encoders.

Imports no torch, so that commands that compute nothing answer at once.
"""

from pipeline.config.adapters import ADAPTER_TYPES, AdapterSpec, AdapterType, AnalogySpec, Context, TDim
from pipeline.config.any_suite import AnySuite, TaggedSuite
from pipeline.config.base import (
    Count,
    Fraction,
    Precision,
    Rate,
    Seed,
    Setting,
    Strict,
    Whole,
    keyed_unless_default,
    nearest,
)
from pipeline.config.base_model import NAMED_MODELS, BaseModelSpec
from pipeline.config.cards import Archive, BuiltCard, DatasetCard, FolderCard, Orientation, Source
from pipeline.config.finetune import FinetuneSettings
from pipeline.config.generate import (
    BatchSize,
    FlowSettings,
    Guidance,
    ImageFormat,
    InversionStart,
    InversionTimestep,
    LatentStatistics,
    Negative,
    Spacing,
)
from pipeline.config.loader import keys_of, read_card, read_card_file, read_suite, read_training_suite
from pipeline.config.model_folders import expanded, variant_of
from pipeline.config.morph import MORPHS, PIXELS, MorphMethod, MorphSettings
from pipeline.config.morph_suite import MorphKind, MorphSuite
from pipeline.config.paths import (
    IN_PLACE,
    absent_domains,
    data_folder,
    resolve_card,
    results_folder,
    store_folder,
)
from pipeline.config.suites import MADE_SETS, Suite
from pipeline.config.t_predictor import GridSettings, TPredictorSettings
from pipeline.config.tasks import DomainsParams, PairParams, prompt, task_name
from pipeline.config.train import MethodSpec, Resample, Swad, TrainSettings, method_label
from pipeline.config.weights import (
    HUB,
    MINI,
    MINI_ENCODER,
    SMALL,
    base_model_path,
    check_steps,
    encoder_path,
    refuse_pickles,
    resolve_base_model,
    resolve_encoder,
    resolve_pretrained,
    resolve_t_predictor,
    vae_path,
    weights_file,
)
from pipeline.config.zero_shot import ZERO_SHOT, ZeroShotSettings

__all__ = [
    "ADAPTER_TYPES",
    "HUB",
    "IN_PLACE",
    "MADE_SETS",
    "MINI",
    "MINI_ENCODER",
    "MORPHS",
    "NAMED_MODELS",
    "PIXELS",
    "SMALL",
    "ZERO_SHOT",
    "AdapterSpec",
    "AdapterType",
    "AnalogySpec",
    "AnySuite",
    "Archive",
    "BaseModelSpec",
    "BatchSize",
    "BuiltCard",
    "Context",
    "Count",
    "DatasetCard",
    "DomainsParams",
    "FinetuneSettings",
    "FlowSettings",
    "FolderCard",
    "Fraction",
    "GridSettings",
    "Guidance",
    "ImageFormat",
    "InversionStart",
    "InversionTimestep",
    "LatentStatistics",
    "MethodSpec",
    "MorphKind",
    "MorphMethod",
    "MorphSettings",
    "MorphSuite",
    "Negative",
    "Orientation",
    "PairParams",
    "Precision",
    "Rate",
    "Resample",
    "Seed",
    "Setting",
    "Source",
    "Spacing",
    "Strict",
    "Suite",
    "Swad",
    "TDim",
    "TPredictorSettings",
    "TaggedSuite",
    "TrainSettings",
    "Whole",
    "ZeroShotSettings",
    "absent_domains",
    "base_model_path",
    "check_steps",
    "data_folder",
    "encoder_path",
    "expanded",
    "keyed_unless_default",
    "keys_of",
    "method_label",
    "nearest",
    "prompt",
    "read_card",
    "read_card_file",
    "read_suite",
    "read_training_suite",
    "refuse_pickles",
    "resolve_base_model",
    "resolve_card",
    "resolve_encoder",
    "resolve_pretrained",
    "resolve_t_predictor",
    "results_folder",
    "store_folder",
    "task_name",
    "vae_path",
    "variant_of",
    "weights_file",
]
