"""The image encoders of LoRWeB: mini's own, and those of timm and transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.config import MINI_ENCODER, AdapterSpec, AnalogySpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import make_adapter
from pipeline.diffusion.adapters.lorweb import analogy, load_encoder
from pipeline.diffusion.mini import ENCODER
from tests.diffusion.adapters.lorweb_samples import WIDTH
from tests.diffusion.adapters.samples import network


def images(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_the_encoder_of_mini_is_small_and_embeds_any_size_at_length_one() -> None:
    assert ENCODER == MINI_ENCODER
    assert ENCODER.stat().st_size < 2**20
    assert all(torch.isfinite(tensor).all() for tensor in load_file(ENCODER).values())
    encoder = load_encoder(AnalogySpec())
    for size in (32, 80):
        embedded = encoder.embed(images(3, size))
        assert embedded.shape == (3, 128)
        assert not embedded.requires_grad
        assert torch.allclose(embedded.norm(dim=1), torch.ones(3), atol=1e-5)
    assert analogy(embedded[:1], embedded[1:2], embedded[2]).shape == (1, WIDTH)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_clip_or_a_siglip_in_a_folder_is_an_encoder(tmp_path: Path, kind: str) -> None:
    import transformers

    about = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 24,
        "patch_size": 8,
    }
    if kind == "clip":
        model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**about))
        processor = transformers.CLIPImageProcessor(size={"shortest_edge": 24}, crop_size=24)
    else:
        model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**about))
        processor = transformers.SiglipImageProcessor(size={"height": 24, "width": 24})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    spec = AnalogySpec(encoder=str(tmp_path), basis=2, key_width=4)
    embedded = load_encoder(spec).embed(images(2, 24))
    pixels = processor(images=list(images(2, 24)), return_tensors="pt")["pixel_values"]
    expected = model.eval()(pixels).pooler_output.detach()
    assert torch.allclose(embedded, nn.functional.normalize(expected, dim=1), atol=1e-5)
    adapter = make_adapter(network(), AdapterSpec(type="lorweb", rank=1, analogy=spec), 0)
    adapter.set_condition(analogy(embedded, embedded, embedded))


def test_a_model_of_timm_is_an_encoder_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **more: create(name, **more))
    spec = AnalogySpec(encoder="mobilenetv3_small_050", basis=2, key_width=4)
    embedded = load_encoder(spec).embed(images(2, 40))
    adapter = make_adapter(network(), AdapterSpec(type="lorweb", rank=1, analogy=spec), 0)
    adapter.set_condition(analogy(embedded, embedded, embedded))


@pytest.mark.parametrize("name", ["resnet_of_nobody", "/nowhere/clip"])
def test_an_encoder_that_there_is_not_is_a_users_error(name: str) -> None:
    with pytest.raises(UserError, match=r"adapter.analogy.encoder.*" + name.rpartition("/")[2]):
        make_adapter(network(), AdapterSpec(type="lorweb", analogy=AnalogySpec(encoder=name)), 0)
