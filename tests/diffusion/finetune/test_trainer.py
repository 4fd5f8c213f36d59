"""The options of fine-tuning: against their formulas, against a whole batch, and resumed with all of them on."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipeline.config import AdapterSpec, BaseModelSpec, FinetuneSettings, PairParams
from pipeline.core.checkpoint import read_checkpoint
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import make_adapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune import stage as finetune
from pipeline.diffusion.finetune.data import Batch, TuningData
from pipeline.diffusion.finetune.stage import make_accelerator, tuning_data
from pipeline.diffusion.finetune.trainer import Tuner, losses, snr_weights
from pipeline.diffusion.latent_cache import cached_latents
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings
from pipeline.planning.kinds.finetune import FinetuneParams
from tests.diffusion.stage_samples import Killed, killed_after, product, silent

Tuned = Callable[..., dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def params(sdxl_folder: Path) -> FinetuneParams:
    return FinetuneParams(
        pair=PairParams(source="S", target="T", words=["zero", "one", "two"]),
        base_model=BaseModelSpec(name=str(sdxl_folder), resolution=16),
        adapter=AdapterSpec(rank=2, alpha=2.0, layers=["Linear"], include=r".*attn.*"),
        settings=FinetuneSettings(
            steps=3, batch_size=4, learning_rate=1e-3, checkpoint_every=2, unconditional=0.3
        ),
        threads=1,
    )


def changed(params: FinetuneParams, **changes: object) -> FinetuneParams:
    settings = FinetuneSettings.model_validate(dict(params.settings) | changes)
    return params.model_copy(update={"settings": settings})


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
    losses = torch.tensor([tuner.step(step) for step in range(3)], dtype=torch.float64)
    assert all(tensor.dtype == torch.float64 for tensor in adapter.tensors().values())
    return adapter.tensors() | {"losses": losses}


def test_a_batch_in_several_passes_equals_one_pass(
    tmp_path: Path, params: FinetuneParams, two_domains: Path
) -> None:
    """Equal but for rounding, which float32 makes too coarse to test on every processor.

    AdamW's step is learning_rate * m / (sqrt(v) + 1e-8). An error d of a gradient moves a weight by at most
    learning_rate * d / 1e-8 in a step, so that rounding of a gradient near zero is amplified by 1e5 at a learning
    rate of 1e-3. Gradients, clipped to norm 1, are sums of about 1e4 products: rounding errors of either sign add
    up to sqrt(1e4) * eps. In float64 d is about 2e-14 and a weight's error 2e-9 a step; in float32 d is 1e-5.
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


# -------------------------------------------------------------------------------------------------- the formulas


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weights_are_the_formula(prediction: str) -> None:
    alpha_bar, gamma = [0.999, 0.9, 0.5, 0.01], 5.0
    expected = []
    for level in alpha_bar:
        snr = level / (1 - level)
        expected.append(min(snr, gamma) / (snr if prediction == "epsilon" else snr + 1))
    found = snr_weights(torch.tensor(alpha_bar, dtype=torch.float64), gamma, prediction)
    assert found.tolist() == pytest.approx(expected)


@pytest.fixture
def tuner(tmp_path: Path, params: FinetuneParams, two_domains: Path) -> Tuner:
    return make_tuner(changed(params, ema=0.7), two_domains, tmp_path)


def make_tuner(params: FinetuneParams, data: Path, folder: Path) -> Tuner:
    model = BaseModel.load(params.base_model)
    images = tuning_data(model, params, {"data": data}, folder)
    adapter = make_adapter(model.denoiser, params.adapter, seed=0)
    return Tuner(model, adapter, images, make_accelerator(params.settings))


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
    for step in range(3):
        tuner.step(step)
        expected = 0.7 * expected + 0.3 * tuner.adapter.tensors()[name].double()
    own = tuner.adapter.tensors()[name].clone()
    with tuner.averaged():
        assert torch.allclose(tuner.adapter.tensors()[name].double(), expected, atol=1e-7)
        assert not torch.equal(tuner.adapter.tensors()[name], own)
    assert torch.equal(tuner.adapter.tensors()[name], own)


# ------------------------------------------------------------------------------------------------------- resuming

EVERYTHING = {
    "precision": "bf16",
    "gradient_accumulation": 2,
    "gradient_checkpointing": True,
    "snr_gamma": 5.0,
    "ema": 0.8,
    "steps": 5,
    "schedule": "cosine",
    "warmup": 2,
    "validate_every": 2,
    "validation": {"classes": 2, "times": [0.0, 1.0], "steps": 2},
}


@pytest.mark.parametrize("killed_at", [3, 4])
def test_a_fine_tuning_killed_with_every_option_on_ends_with_the_same_bytes(
    tmp_path: Path, params: FinetuneParams, two_domains: Path, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures too; and what was encoded before is not encoded again."""
    wanted, inputs = changed(params, **EVERYTHING), {"data": two_domains}
    finetune.run(wanted, inputs, tmp_path / "whole", silent)
    with pytest.raises(Killed):
        finetune.run(wanted, inputs, tmp_path / "cut", killed_after(killed_at))

    def again(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(BaseModel, "encode", again)
    monkeypatch.setattr(BaseModel, "embed", again)
    finetune.run(wanted, inputs, tmp_path / "cut", silent)
    made = product(tmp_path / "whole")
    assert set(made) == {
        "adapter.safetensors",
        "losses.csv",
        *(f"validation/{name}" for name in ("000002.png", "000004.png", "about.json")),
    }
    assert product(tmp_path / "cut") == made
    assert Image.open(tmp_path / "cut/validation/000004.png").size == (2 * 16, 2 * 16)


def test_eight_bit_adam_learns_alike_and_goes_on_to_the_same_bytes(
    tmp_path: Path, params: FinetuneParams, two_domains: Path
) -> None:
    """Matrices of 4,096 numbers and more are those whose moments bitsandbytes keeps in eight bits."""
    pytest.importorskip("bitsandbytes")
    large = AdapterSpec(rank=256, alpha=256, layers=["Linear"], include=r".*attn1.to_q")
    inputs, made = {"data": two_domains}, {}
    for optimizer in ("adamw8bit", "adamw"):
        wanted = changed(params, optimizer=optimizer).model_copy(update={"adapter": large})
        finetune.run(wanted, inputs, tmp_path / optimizer, silent)
        made[optimizer] = load_file(tmp_path / optimizer / "adapter.safetensors")
    ups = [name for name in made["adamw"] if name.endswith("up")]
    eight, plain = (torch.cat([of[name].flatten() for name in ups]) for of in made.values())
    assert 0 < (eight - plain).norm() < 0.2 * plain.norm()
    wanted = changed(params, optimizer="adamw8bit").model_copy(update={"adapter": large})
    with pytest.raises(Killed):
        finetune.run(wanted, inputs, tmp_path / "cut", killed_after(3))
    kept = read_checkpoint(tmp_path / "cut/scratch/checkpoint.pt")
    quantized = [one["__bnb_optimizer_quant_state__"] for one in kept["optimizer"].values()]
    assert any(one["state1"].dtype == torch.uint8 for one in quantized)
    finetune.run(wanted, inputs, tmp_path / "cut", silent)
    assert product(tmp_path / "cut") == product(tmp_path / "adamw8bit")


def test_the_state_of_the_loss_scaler_is_kept(tmp_path: Path, tuner: Tuner) -> None:
    """fp16 wants a GPU; its scaler alone does not."""

    kept = {
        "scale": 4096.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 7,
    }
    scalers = torch.amp.GradScaler("cpu"), torch.amp.GradScaler("cpu")
    scalers[0].load_state_dict(kept)
    tuner.accelerator.scaler = scalers[0]
    tuner.save(tmp_path / "checkpoint.pt", [[0, 1.0]])
    tuner.accelerator.scaler = scalers[1]
    assert scalers[1].state_dict() != kept
    assert tuner.resume(tmp_path / "checkpoint.pt") == [[0, 1.0]]
    assert scalers[1].state_dict() == kept


def test_encoding_goes_on_at_the_slice_it_was_at(
    tmp_path: Path, params: FinetuneParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = BaseModel.load(params.base_model)
    images = np.random.default_rng(0).integers(0, 256, (150, 16, 16, 3), dtype=np.uint8)
    whole, encode, seen = model.encode(images), BaseModel.encode, []

    def cut(self: BaseModel, some: np.ndarray) -> torch.Tensor:
        if len(seen) == 1:
            seen.append(0)
            raise Killed
        seen.append(len(some))
        return encode(self, some)

    monkeypatch.setattr(BaseModel, "encode", cut)
    with pytest.raises(Killed):
        cached_latents(model, images, tmp_path, "source")
    found = cached_latents(model, images, tmp_path, "source")
    assert seen == [64, 0, 64, 22]
    assert torch.equal(found, whole)
    assert found[[3]].stride() == whole[[3]].stride(), "sums over an image depend on the order of its numbers"


# --------------------------------------------------------------------------------------------------- what is missing


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
