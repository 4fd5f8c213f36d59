"""Two LoRAs in one adapter: their interpolation, and that each learns from its own endpoint."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from pipeline.config import AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import load_adapter
from pipeline.diffusion.adapters.export import export_lora
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.morph.endpoints import Endpoint, EndpointData
from pipeline.diffusion.morph.lora_pair import LoraPair
from pipeline.diffusion.morph.methods import METHODS
from pipeline.diffusion.morph.sampling import tune, with_adapter
from tests.diffusion.morph.morph_samples import FAST

SPEC = AdapterSpec(rank=2, alpha=2, layers=["Linear", "Conv2d"])


@pytest.mark.parametrize("blend", ["update", "factors"])
def test_a_pair_is_each_lora_at_its_end_and_their_blend_between(blend: str) -> None:
    torch.manual_seed(0)
    denoiser = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Flatten(2), nn.Linear(16, 5)
    ).double()
    weights = [denoiser[i].weight.detach().clone() for i in (0, 2)]
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    pair = LoraPair(denoiser, SPEC, 0, blend)
    pair.set_scale(0.7)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.data = torch.randn_like(parameter, dtype=torch.float64)
    layers, t = [pair.layers[name] for name in ("0", "2")], [0.0, 0.3, 1.0]
    pair.set_condition(torch.tensor(t))
    together = denoiser(x)
    for place, sample in zip(t, x, strict=True):
        for layer, weight in zip(layers, weights, strict=True):
            ups, downs = layer.up.split(2, dim=1), layer.down.flatten(1).split(2)
            if blend == "update":
                update = (1 - place) * ups[0] @ downs[0] + place * ups[1] @ downs[1]
            else:
                up, down = ((1 - place) * first + place * last for first, last in (ups, downs))
                update = up @ down
            layer.base.weight.data = weight + 0.7 * update.reshape(weight.shape)
            layer._base_weight = weight  # so that the layer adds nothing more
        alone = denoiser(sample[None])[0]
        assert torch.allclose(together[t.index(place)], alone)
        pair.unmerge()
        pair.merge(place)
        assert torch.allclose(denoiser(sample[None])[0], alone)
        pair.unmerge()
    assert all(torch.equal(layer.base.weight, weight) for layer, weight in zip(layers, weights, strict=True))


def test_the_loras_of_a_pair_learn_from_their_own_ends_alone(
    mini: BaseModel, two_ends: tuple[Endpoint, Endpoint]
) -> None:
    own, pair = with_adapter(mini, METHODS["lora_interp"](FAST))
    data, other = (EndpointData(own, FAST, ends) for ends in (two_ends, (two_ends[0], two_ends[0])))
    tune(own, pair, data)
    again, with_another = with_adapter(mini, METHODS["lora_interp"](FAST))
    tune(again, with_another, other)
    name = next(name for name in pair.layers if "to_v" in name)
    ups = [p.layers[name].up.split(FAST.rank, dim=1) for p in (pair, with_another)]
    # Gradients are clipped together, so that they agree in what they learn up to the size of a step.
    assert torch.allclose(ups[0][0], ups[1][0], atol=2e-3)
    assert (ups[0][1] - ups[1][1]).abs().max() > 2e-3


def test_a_pair_is_saved_as_what_it_is_and_exported_at_a_t(tmp_path: Path) -> None:
    torch.manual_seed(0)
    denoiser = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(2), nn.Linear(64, 5))
    pair = LoraPair(denoiser, SPEC, seed=0)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.copy_(torch.randn_like(parameter))
    path, to = tmp_path / "000000.safetensors", tmp_path / "lora.safetensors"
    pair.save(path)
    with safe_open(path, "pt") as file:
        assert set(file.metadata()) == {"lora_pair"}
        assert "terra" not in file.metadata()["lora_pair"]
    written = export_lora(path, to, [0.25])
    assert (written["rank"], written["adapter"]["type"]) == (4, "lora_pair")
    held = load_file(to)
    for name, layer in pair.layers.items():
        down, up = (held[f"unet.{name}.lora_{part}.weight"].flatten(1) for part in "AB")
        expected = layer.delta(torch.tensor([0.25])).flatten(1)
        assert torch.allclose(up @ down, expected, atol=1e-5)
    with pytest.raises(UserError, match=r"holds the two LoRAs of a morph, .* say which, such as --t 0.5"):
        export_lora(path, to, None)
    other = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(2), nn.Linear(64, 5))
    assert isinstance(load_adapter(other, path), LoraPair)
