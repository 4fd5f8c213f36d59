"""The kinds of jobs: each is declared in one place, from which everything else follows."""

import importlib.util
import pkgutil
from pathlib import Path

import pytest

from pipeline import config
from pipeline.config import BaseModelSpec
from pipeline.core.job import KINDS, Job, Reduction
from pipeline.core.store import Store
from pipeline.planning import cost, kinds
from pipeline.planning.graph import make_plan
from pipeline.planning.kinds.generate import GenerateParams
from pipeline.planning.kinds.prepare import PrepareParams
from pipeline.planning.rates import GPU

SHARED = {"classifier", "sampling", "morphing", "saved_images"}
"""The files of the folder that declare no kind, but what several kinds share."""


def test_every_file_declares_the_kind_of_its_name() -> None:
    files = {file.name for file in pkgutil.iter_modules(kinds.__path__)} - SHARED
    declared = {name: kind for name, kind in KINDS.items() if type(kind).__module__.startswith("pipeline.")}
    assert files == set(declared)
    for name, kind in declared.items():
        assert type(kind).__module__ == kind.params.__module__ == f"pipeline.planning.kinds.{name}"
        assert kind.name == name


def test_every_kind_names_a_module_that_exists() -> None:
    declared = (kind for kind in KINDS.values() if type(kind).__module__.startswith("pipeline."))
    assert all(importlib.util.find_spec(kind.module) for kind in declared)


def test_parameters_of_another_kind_are_refused() -> None:
    job = Job("prepare", PrepareParams(card=config.read_card("digits")), {}, "prepare digits")
    assert job.params_as(PrepareParams) is job.params
    with pytest.raises(TypeError, match=r"prepare digits: .* PrepareParams, not GenerateParams"):
        job.params_as(GenerateParams)


@pytest.mark.parametrize(
    ("reduction", "possible"),
    [
        (Reduction("rank", 8), True),
        (Reduction("rank", 1), False),
        (Reduction("precision", "fp32", "bf16"), True),
        (Reduction("precision", "fp16", "bf16"), False),
        (Reduction("gradient_checkpointing", False, True), True),
        (Reduction("gradient_checkpointing", True, True), False),
        (Reduction("backbone", "resnet50", "a smaller one"), True),
    ],
)
def test_what_is_as_low_as_it_can_be_is_not_lowered(reduction: Reduction, possible: bool) -> None:
    assert reduction.possible is possible


@pytest.mark.parametrize("name", ["digits", "digits_dg", "digits_dg_morph", "digits_analogies"])
def test_every_job_of_a_large_model_is_estimated_on_a_gpu(name: str, tmp_path: Path) -> None:
    suite, card = config.read_suite(name), config.read_card("digits")
    estimator = cost.Estimator(Store(tmp_path), GPU)
    for job in make_plan(suite, card, BaseModelSpec(name="sdxl")).jobs:
        needs = estimator.needs(job)
        assert needs.seconds is not None
        assert needs.seconds > 0
        assert needs.disk > 0
        assert (needs.gpu_gib is not None) == cost.takes_gpu(job)
