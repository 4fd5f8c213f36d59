"""A fine-tuning that was killed, resumed with every option on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipeline.config import AdapterSpec
from pipeline.core.checkpoint import read_checkpoint
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune import stage as finetune
from pipeline.diffusion.finetune.trainer import Tuner
from pipeline.diffusion.latent_cache import cached_latents
from pipeline.planning.kinds.finetune import FinetuneParams
from tests.diffusion.finetune.samples import changed
from tests.diffusion.stage_samples import Killed, killed_after, product, silent

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
    tuner.log = [[0, 1.0]]
    tuner.save(tmp_path / "checkpoint.pt")
    tuner.accelerator.scaler, tuner.log = scalers[1], []
    assert scalers[1].state_dict() != kept
    tuner.resume(tmp_path / "checkpoint.pt")
    assert tuner.log == [[0, 1.0]]
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
