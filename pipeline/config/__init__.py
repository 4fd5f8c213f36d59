"""The typed, validated form of suites, dataset cards and job parameters.

Imports no torch, so that `plan`, `tables` and `--help` answer at once.
"""

from pipeline.config.base import ROOT, Count, Fraction, Rate, Seed, Setting, Strict, nearest
from pipeline.config.cards import DatasetCard, DomainCard
from pipeline.config.jobs import (
    FinetuneParams,
    GenerateParams,
    InversionSettings,
    PairParams,
    PrepareParams,
    TrainParams,
    prompt,
    task_name,
)
from pipeline.config.reading import card_folder, read_card, read_suite
from pipeline.config.suites import (
    MADE_SETS,
    AdapterSpec,
    BaseModelSpec,
    FinetuneSettings,
    GenerateSettings,
    Guidance,
    LatentStatistics,
    MethodSpec,
    Mix,
    Suite,
    Swad,
    TrainSettings,
    method_label,
)
from pipeline.config.weights import (
    HUB,
    MINI,
    SMALL,
    base_model_path,
    resolve_base_model,
    resolve_pretrained,
)

__all__ = [
    "HUB",
    "MADE_SETS",
    "MINI",
    "ROOT",
    "SMALL",
    "AdapterSpec",
    "BaseModelSpec",
    "Count",
    "DatasetCard",
    "DomainCard",
    "FinetuneParams",
    "FinetuneSettings",
    "Fraction",
    "GenerateParams",
    "GenerateSettings",
    "Guidance",
    "InversionSettings",
    "LatentStatistics",
    "MethodSpec",
    "Mix",
    "PairParams",
    "PrepareParams",
    "Rate",
    "Seed",
    "Setting",
    "Strict",
    "Suite",
    "Swad",
    "TrainParams",
    "TrainSettings",
    "base_model_path",
    "card_folder",
    "method_label",
    "nearest",
    "prompt",
    "read_card",
    "read_suite",
    "resolve_base_model",
    "resolve_pretrained",
    "task_name",
]
