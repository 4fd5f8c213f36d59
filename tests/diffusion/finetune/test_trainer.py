"""The options of fine-tuning, against their formulas and against a whole batch."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.config import FinetuneSettings
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import make_adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune import stage as finetune
from pipeline.diffusion.finetune.data import Batch, TuningData
from pipeline.diffusion.finetune.stage import make_accelerator, tuning_data
from pipeline.diffusion.finetune.trainer import Tuner, losses, snr_weights
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings
from pipeline.planning.kinds.finetune import FinetuneParams
from tests.diffusion.finetune.samples import changed
from tests.diffusion.stage_samples import silent

Tuned = Callable[..., dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, params: FinetuneParams, two_domains: Path) -> Tuned:
    """The adapter that fine-tuning with other settings makes, and its loss curve."""

    def tune(**changes: object) -> dict[str, torch.Tensor]:
        folder = tmp_path_factory.mktemp("tuned")
        finetune.run(changed(params, **changes), {"data": two_domains}, folder, silent)
        found = load_file(folder / "adapter.safetensors")
        curve = np.loadtxt(folder / "losses.csv", delimiter=",", skiprows=1)
        return found | {"losses": torch.from_numpy(curve)}

    return tune


@pytest.fixture(scope="module")
def plain(tuned: Tuned) -> dict[str, torch.Tensor]:
    return tuned()


def furthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


class DoubleBatches:
    """The batches of `data` in float64."""

    def __init__(self, data: TuningData) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def batch(self, step: int) -> Batch:
        batch = self._data.batch(step)
        prompts = PromptEmbeddings(
            **{name: tensor.double() for name, tensor in batch.prompts.tensors().items()}
        )
        return replace(batch, clean=batch.clean.double(), noise=batch.noise.double(), prompts=prompts)


def trained_in_float64(params: FinetuneParams, data: Path, folder: Path) -> dict[str, torch.Tensor]:
    """The adapter's weights and the losses after three steps whose arithmetic is float64 throughout."""
    model = BaseModel.load(params.base_model)
    images = DoubleBatches(tuning_data(model, params, {"data": data}, folder))
    adapter = make_adapter(model.denoiser, params.adapter, seed=0)
    model.denoiser.double()  # the adapter's weights, which are inside it, too
    model.alpha_bar = model.alpha_bar.double()
    tuner = Tuner(model, adapter, images, make_accelerator(params.settings))
    assert list(tuner.steps()) == [1, 2, 3]
    losses = torch.tensor([row[1:] for row in tuner.log], dtype=torch.float64)
    assert all(tensor.dtype == torch.float64 for tensor in adapter.tensors().values())
    return adapter.tensors() | {"losses": losses}


def test_a_batch_in_several_passes_equals_one_pass(
    tmp_path: Path, params: FinetuneParams, two_domains: Path
) -> None:
    """Equal but for rounding, which float32 makes too coarse to test on every processor.

    AdamW's step is learning_rate * m / (sqrt(v) + 1e-8). An error d of a gradient moves a weight by at most
    learning_rate * d / 1e-8 in a step, so that rounding of a gradient near zero is amplified by 1e5 at a
    learning rate of 1e-3. Gradients, clipped to norm 1, are sums of about 1e4 products: rounding errors of
    either sign add up to sqrt(1e4) * eps. In float64 d is about 2e-14 and a weight's error 2e-9 a step; in
    float32 d is 1e-5.
    """
    bound = 3 * 1e-3 * (100 * torch.finfo(torch.float64).eps) / 1e-8
    whole = trained_in_float64(params, two_domains, tmp_path)
    for passes in (2, 4):
        shared = trained_in_float64(changed(params, gradient_accumulation=passes), two_domains, tmp_path)
        assert furthest(shared, whole) < bound
    other = trained_in_float64(changed(params, batch_size=2), two_domains, tmp_path)
    assert furthest(other, whole) > 1e-4, "another batch gives other weights"


def test_gradient_checkpointing_changes_no_bit(tuned: Tuned, plain: dict[str, torch.Tensor]) -> None:
    assert furthest(tuned(gradient_checkpointing=True), plain) == 0


def test_half_precision_learns_alike_and_keeps_the_adapter_in_single_precision(
    tuned: Tuned, plain: dict[str, torch.Tensor]
) -> None:
    half = tuned(precision="bf16")
    assert all(tensor.dtype == torch.float32 for name, tensor in half.items() if name != "losses")
    assert not torch.equal(half["losses"], plain["losses"])
    assert torch.allclose(half["losses"], plain["losses"], rtol=0.03)


def test_a_batch_shared_unequally_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a multiple of processes"):
        FinetuneSettings(batch_size=4, gradient_accumulation=3)


def test_settings_that_came_later_are_not_in_keys_at_their_defaults() -> None:
    assert "precision" not in FinetuneSettings().model_dump()
    later = FinetuneSettings(precision="bf16", ema=0.9, gradient_checkpointing=True).model_dump()
    assert {name for name in later if name not in FinetuneSettings().model_dump()} == {"precision", "ema"}


# ----------------------------------------------------------------------------------------- the formulas


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weights_are_the_formula(prediction: str) -> None:
    alpha_bar, gamma = [0.999, 0.9, 0.5, 0.01], 5.0
    expected = []
    for level in alpha_bar:
        snr = level / (1 - level)
        expected.append(min(snr, gamma) / (snr if prediction == "epsilon" else snr + 1))
    found = snr_weights(torch.tensor(alpha_bar, dtype=torch.float64), gamma, prediction)
    assert found.tolist() == pytest.approx(expected)


def test_min_snr_weighs_each_sample_by_its_own_level(tuner: Tuner) -> None:
    batch = tuner.data.batch(0).share(2, index=1, shares=4)  # one image of each domain
    tuner.adapter.set_condition(batch.condition)
    with torch.no_grad():
        plain, weighed = (losses(tuner.model, batch, 2, gamma) for gamma in (None, 0.01))
    weights = snr_weights(tuner.model.alpha_bar[batch.timesteps], 0.01, "epsilon")
    for part, other, weight in zip(plain, weighed, weights, strict=True):
        assert float(other) == pytest.approx(float(weight * part), rel=1e-5)


def test_the_average_is_the_recursion_and_is_what_is_kept(tuner: Tuner) -> None:
    name = min(tuner.adapter.tensors())
    expected = tuner.adapter.tensors()[name].double().clone()
    for _ in tuner.steps():
        expected = 0.7 * expected + 0.3 * tuner.adapter.tensors()[name].double()
    own = tuner.adapter.tensors()[name].clone()
    with tuner.averaged():
        assert torch.allclose(tuner.adapter.tensors()[name].double(), expected, atol=1e-7)
        assert not torch.equal(tuner.adapter.tensors()[name], own)
    assert torch.equal(tuner.adapter.tensors()[name], own)


# -------------------------------------------------------------------------------------- what is missing


def test_fp16_needs_a_gpu(tmp_path: Path, params: FinetuneParams, two_domains: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        finetune.run(changed(params, precision="fp16"), {"data": two_domains}, tmp_path, silent)


def test_eight_bit_adam_needs_bitsandbytes(
    tmp_path: Path, params: FinetuneParams, two_domains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UserError, match="pip install bitsandbytes, or take adamw"):
        finetune.run(changed(params, optimizer="adamw8bit"), {"data": two_domains}, tmp_path, silent)
