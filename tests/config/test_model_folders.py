"""Folders of models and encoders: what is damaged in them is told before any job runs."""

import json
import os
from pathlib import Path

import pytest

from pipeline import config
from pipeline.config import AdapterSpec, AnalogySpec, BaseModelSpec
from pipeline.core.errors import UserError
from pipeline.execution.suite_plan import plan_of


def model(folder: Path, index: str = "{}", **scheduler: object) -> BaseModelSpec:
    """A folder without parts, whose noise schedule states `scheduler`."""
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(index)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    return BaseModelSpec(name=str(folder), resolution=32)


@pytest.mark.parametrize("index", ["[]", "null", "3", '"text"', "{", "", "[" * 100_000])
def test_an_index_that_is_no_object_is_refused(tmp_path: Path, index: str) -> None:
    with pytest.raises(UserError, match=r"base_model: .*/model_index.json cannot be read .*; copy or downl"):
        config.resolve_base_model(model(tmp_path, index))


@pytest.mark.parametrize("timesteps", [10**12, 100_001, 0, -1, 1.5, "1000", True, None, [1000]])
def test_a_noise_schedule_that_can_not_be_computed_is_refused(tmp_path: Path, timesteps: object) -> None:
    with pytest.raises(UserError, match=r"scheduler_config.json states num_train_timesteps: .*1 to 100,000"):
        config.resolve_base_model(model(tmp_path, num_train_timesteps=timesteps))


@pytest.mark.parametrize("scheduler", [{}, {"num_train_timesteps": 1000}, {"num_train_timesteps": 1}])
def test_an_ordinary_noise_schedule_is_taken(tmp_path: Path, scheduler: dict[str, int]) -> None:
    assert config.resolve_base_model(model(tmp_path, **scheduler)).revision


def suite(tmp_path: Path, text: str, parent: str = "digits_smoke") -> config.AnySuite:
    (tmp_path / "mine.yaml").write_text(f"extends: {parent}\nname: mine\n{text}\n")
    return config.read_suite(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("parent", "text", "field"),
    [
        ("digits_smoke", "generate: {steps: 1001}", "generate.steps"),
        ("digits_smoke", "finetune: {validation: {steps: 1001}}", "finetune.validation.steps"),
        ("digits_dg_morph", "generate: {between: {morph: {steps: 1001}}}", "generate.between.morph.steps"),
        ("morph", "morph: {steps: 1001}", "morph.steps"),
    ],
)
def test_more_steps_than_timesteps_are_refused_by_the_plan(
    tmp_path: Path, parent: str, text: str, field: str
) -> None:
    with pytest.raises(UserError, match=rf"{field}: 1,001 is more than the 1,000 timesteps of base_model"):
        plan_of(suite(tmp_path, text, parent))


@pytest.mark.parametrize(
    ("parent", "text", "field"),
    [
        ("digits_smoke", "generate: {steps: 1000000000000}", "generate.steps"),
        ("digits_smoke", "finetune: {steps: 1000000000000}", "finetune.steps"),
        ("digits_smoke", "finetune: {warmup: 1000000000000}", "finetune.warmup"),
        ("digits_smoke", "train: {iterations: 1000000000000}", "train.iterations"),
        ("digits_smoke", "generate: {generated: 1000000000000}", "generate.generated"),
        ("digits_dg", "t_predictor: {epochs: 1000000000000}", "t_predictor.epochs"),
        ("morph", "morph: {refinements: 1000000000000}", "morph.refinements"),
        ("morph", "frames: 1000000000000", "frames"),
    ],
)
def test_numbers_that_no_run_ends_with_are_refused(
    tmp_path: Path, parent: str, text: str, field: str
) -> None:
    with pytest.raises(UserError, match=rf"line 3, {field}: .*less than or equal to 1000?00"):
        suite(tmp_path, text, parent)


def encoder(folder: Path) -> AdapterSpec:
    return AdapterSpec(type="lorweb", analogy=AnalogySpec(encoder=str(folder)))


def test_an_encoder_without_weights_or_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"adapter.analogy.encoder: .*/config.json cannot be read"):
        config.resolve_encoder(encoder(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"adapter.analogy.encoder: .* has no weights \(\*.safetensors\)"):
        config.resolve_encoder(encoder(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    found = config.resolve_encoder(encoder(tmp_path))
    assert found.analogy is not None
    assert found.analogy.encoder_revision


@pytest.mark.timeout(20)
def test_a_pipe_in_a_folder_of_weights_is_passed_over(tmp_path: Path) -> None:
    spec = model(tmp_path)
    os.mkfifo(tmp_path / "extra.json")
    assert config.resolve_base_model(spec).revision
