"""A LoRWeB under one analogy as a LoRA."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from pipeline.config import MINI
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import make_adapter
from pipeline.diffusion.adapters.export import export_lora, lora_factors
from pipeline.diffusion.adapters.lora.file import write_lora
from tests.diffusion.adapters.lorweb_samples import adapted, analogies, spec_of


def test_its_lora_is_what_it_is_for_one_analogy(tmp_path: Path) -> None:
    _, adapter = adapted(spec_of(heads=2))
    condition = analogies(1)[0].double()
    factors = lora_factors(adapter.spec, adapter.tensors(), condition, scale=0.8)
    adapter.set_scale(0.8)
    adapter.set_condition(condition)
    for name, (down, up) in factors.items():
        layer = adapter.layers[name]
        assert torch.allclose((up @ down.flatten(1)), layer.delta(layer.weights()).flatten(1), atol=1e-6)
    adapter.save(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="another LoRA for every analogy"):
        export_lora(tmp_path / "a.safetensors", tmp_path / "lora.safetensors", [0.5])


@torch.no_grad()
def test_diffusers_renders_the_lora_of_an_analogy_as_the_adapter_does(tmp_path: Path) -> None:
    def image(pipe: DiffusionPipeline) -> np.ndarray:
        return pipe(
            "a seven",
            num_inference_steps=4,
            guidance_scale=3.0,
            height=32,
            width=32,
            output_type="np",
            generator=torch.Generator().manual_seed(1),
        ).images[0]

    pipe = DiffusionPipeline.from_pretrained(MINI, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    stock = copy.deepcopy(pipe)
    base = image(stock)
    adapter = make_adapter(pipe.unet, spec_of(), 0)
    generator = torch.Generator().manual_seed(2)
    for parameter in adapter.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.08)
    adapter.set_condition(analogies(1) * 0.1)
    factors = lora_factors(adapter.spec, adapter.tensors(), analogies(1)[0] * 0.1)
    write_lora(tmp_path / "lora.safetensors", factors, {})
    stock.load_lora_weights(str(tmp_path / "lora.safetensors"))
    expected = image(pipe)
    assert np.abs(image(stock) - expected).max() <= 1e-4
    assert np.abs(base - expected).max() > 0.01, "the adapter does something"
