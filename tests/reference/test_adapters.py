"""Adapters against numbers of their authors' code.

The numbers were made in float64 with the layer classes of zwebzone/terra (train_Terra_UDA.py and
custom_diffusers/models/lora.py) and of NVlabs/LoRWeB (toolkit/models/AttLoRA.py), whose weights and inputs
were set to `wave`. The base layer's own output is not part of them.
"""

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import AdapterSpec, AnalogySpec
from pipeline.diffusion.adapters import TerraAdapter, make_adapter
from pipeline.diffusion.adapters.lorweb import LorwebAdapter
from tests.reference.numbers import COSINE, LINEAR, LORWEB, wave


def base() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(4, 3, bias=False)).double()
    nn.init.zeros_(net[0].weight)
    return net


def set_weights(adapter: TerraAdapter | LorwebAdapter, **weights: Tensor) -> None:
    """Set the parameters of the only layer."""
    for name, value in weights.items():
        adapter.named_parameters()[f"0.{name}"].data = value


@pytest.mark.parametrize("t", LINEAR)
def test_the_linear_form_equals_the_authors_layer(t: float) -> None:
    """They multiply rows by I + t W, so that their W is the transpose of ours."""
    net = base()
    adapter = make_adapter(net, AdapterSpec(rank=2, alpha=2.0), seed=0)
    set_weights(adapter, down=wave(2, 4, phase=0.1), up=wave(3, 2, phase=0.2), middle=wave(2, 2, phase=0.3).T)
    adapter.set_condition(t)
    assert torch.allclose(
        net(wave(2, 4, phase=0.4)), torch.tensor(LINEAR[t], dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_the_cosine_form_equals_the_authors_layer_with_a_t_for_each_sample() -> None:
    net = base()
    adapter = make_adapter(net, AdapterSpec(form="cosine", t_dim=2, rank=2, alpha=2.0), seed=0)
    frequencies, amplitudes = wave(2, 2, 2, phase=0.3), wave(2, 2, 2, phase=0.5)
    middle = torch.stack([amplitudes.mT, frequencies.mT])
    set_weights(adapter, down=wave(2, 4, phase=0.1), up=wave(3, 2, phase=0.2), middle=middle)
    adapter.set_condition(torch.tensor([[0.5, -1.0], [1.5, 2.0]]))
    found = net(wave(2, 3, 4, phase=0.4))
    assert torch.allclose(found, torch.tensor(COSINE, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("mixing", "heads"), LORWEB)
def test_the_mix_of_a_lorweb_equals_the_authors_layer(mixing: str, heads: int) -> None:
    """Softmax, averaged over heads; and tanh, summed over heads and clamped."""
    net = base()
    about = AnalogySpec(basis=3, key_width=4, heads=heads, mixing=mixing)
    adapter = make_adapter(net, AdapterSpec(type="lorweb", rank=2, alpha=1.0, analogy=about), seed=0)
    down, up = wave(3, 4, 2, phase=0.1), wave(3, 2, 3, phase=0.2)
    set_weights(
        adapter,
        down=down.permute(0, 2, 1).reshape(6, 4),
        up=up.permute(2, 0, 1).reshape(3, 6),
        keys=2 * wave(3, 4, phase=0.3),
    )
    adapter.state.projection = nn.Linear(6, 4, bias=False)
    adapter.state.projection.weight.data = 2 * wave(4, 6, phase=0.4)
    adapter.state.analogy = wave(2, 6, phase=0.5)
    expected = torch.tensor(LORWEB[mixing, heads], dtype=torch.float64)
    assert torch.allclose(net(wave(2, 2, 4, phase=0.6)), expected, rtol=0, atol=1e-12)


def test_first_weights_have_the_authors_spread() -> None:
    """Terra's A of rank 32 has deviation 1 / 32 in every layer. LoRWeB's lies in +-1 / sqrt(in * rank)."""
    for kind in ("terra", "lora"):
        net = nn.Sequential(nn.Linear(4096, 8))
        spec = AdapterSpec(type=kind, rank=32, first_down="rank")
        down = make_adapter(net, spec, seed=0).named_parameters()["0.down"]
        assert down.std().item() == pytest.approx(1 / 32, rel=0.01)
        assert down.abs().max().item() > 4 / 32, "it is normal, not uniform"
    net = nn.Sequential(nn.Linear(256, 8))
    spec = AdapterSpec(type="lorweb", rank=4, first_down="rank")
    down = make_adapter(net, spec, seed=0).named_parameters()["0.down"]
    assert down.abs().max().item() == pytest.approx(1 / (256 * 4) ** 0.5, rel=0.01)
    assert down.std().item() == pytest.approx(1 / (3 * 256 * 4) ** 0.5, rel=0.02)
