"""Terra's algebra, against dense matrices and finite differences."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.config import AdapterSpec
from pipeline.diffusion.adapters.terra import TerraAdapter, saved_spec
from pipeline.errors import UserError

SPEC = AdapterSpec(rank=3, alpha=6.0)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(4, 5, 1),
        nn.Flatten(),
        nn.Linear(5 * 16, 7),
    ).double()


def adapted(seed: int = 0) -> tuple[nn.Sequential, TerraAdapter]:
    """A network whose adapter has learned something."""
    net = network()
    adapter = TerraAdapter(net, SPEC, seed)
    generator = torch.Generator().manual_seed(seed)
    net.double()
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return net, adapter


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_with_b_zero_the_adapted_model_is_the_base_model_exactly(x: torch.Tensor) -> None:
    net = network()
    before = net(x)
    adapter = TerraAdapter(net, SPEC, 0)
    net.double()
    adapter.set_t(torch.tensor([0.0, 1.0, -1.0, 0.5]))
    assert torch.equal(net(x), before)


@pytest.mark.parametrize("t", [0.0, 1.0, -0.7])
def test_update_is_alpha_over_rank_b_k_a(t: float) -> None:
    _, adapter = adapted()
    for layer in adapter.layers.values():
        a, w, b = layer.down.flatten(1), layer.middle, layer.up
        expected = (6.0 / 3) * (b @ a + t * (b @ w @ a))
        assert torch.allclose(layer.delta(t).flatten(1), expected, atol=1e-12)


def test_at_t_zero_it_is_a_lora(x: torch.Tensor) -> None:
    net, adapter = adapted()
    adapter.set_t(0.0)
    at_zero = net(x)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.middle.zero_()
    adapter.set_t(0.8)
    assert torch.allclose(net(x), at_zero, atol=1e-12)


def test_a_batch_of_mixed_t_equals_its_samples_one_at_a_time(x: torch.Tensor) -> None:
    net, adapter = adapted()
    times = torch.tensor([0.0, 1.0, -0.5, 0.3])
    adapter.set_t(times)
    together = net(x)
    for i, t in enumerate(times):
        adapter.set_t(float(t))
        assert torch.allclose(net(x[i : i + 1])[0], together[i], atol=1e-6)


def test_merged_equals_unmerged_and_unmerge_restores_bit_for_bit(x: torch.Tensor) -> None:
    net, adapter = adapted()
    before = {name: layer.base.weight.clone() for name, layer in adapter.layers.items()}
    adapter.set_t(0.6)
    adapter.set_scale(0.9)
    expected = net(x)
    adapter.merge(0.6)
    assert torch.allclose(net(x), expected, atol=1e-6)
    adapter.merge(0.1)
    adapter.unmerge()
    assert all(torch.equal(layer.base.weight, before[name]) for name, layer in adapter.layers.items())


def test_gradients_agree_with_finite_differences(x: torch.Tensor) -> None:
    net, adapter = adapted()
    adapter.set_t(torch.tensor([0.0, 1.0, -0.5, 0.3], dtype=torch.float64))
    layer = next(iter(adapter.layers.values()))
    for parameter in (layer.middle, layer.up, layer.down):
        loss = net(x).square().sum()
        (gradient,) = torch.autograd.grad(loss, parameter)
        where = (1,) * parameter.ndim
        step = 1e-5
        with torch.no_grad():
            parameter[where] += step
            above = net(x).square().sum()
            parameter[where] -= 2 * step
            below = net(x).square().sum()
            parameter[where] += step
        assert gradient[where].item() == pytest.approx(
            ((above - below) / (2 * step)).item(), rel=1e-5, abs=1e-6
        )


def test_only_the_adapter_learns_and_w_has_its_own_rate() -> None:
    net, adapter = adapted()
    learning = {id(p) for p in net.parameters() if p.requires_grad}
    assert learning == {id(p) for p in adapter.parameters()}
    outer, middle = adapter.parameter_groups(1e-3, 100.0)
    assert middle["lr"] == pytest.approx(0.1)
    assert outer["lr"] == 1e-3
    assert sum(p.numel() for p in middle["params"]) == len(adapter.layers) * SPEC.rank**2


def test_saved_and_loaded_it_is_the_same(tmp_path: Path, x: torch.Tensor) -> None:
    net, adapter = adapted()
    net.float()
    adapter.save(tmp_path / "a.safetensors")
    other, loaded = adapted(seed=5)
    other.float()
    loaded.load(tmp_path / "a.safetensors")
    for one in (adapter, loaded):
        one.set_t(0.4)
    assert torch.equal(net(x.float()), other(x.float()))
    assert saved_spec(tmp_path / "a.safetensors") == SPEC


def test_an_adapter_that_does_not_fit_names_both_sides(tmp_path: Path) -> None:
    _, adapter = adapted()
    adapter.save(tmp_path / "a.safetensors")
    narrow = TerraAdapter(network(), SPEC.model_copy(update={"rank": 2}), 0)
    with pytest.raises(UserError, match=r"rank=3.*rank=2"):
        narrow.load(tmp_path / "a.safetensors")
    other = TerraAdapter(nn.Sequential(nn.Linear(2, 2)), SPEC, 0)
    with pytest.raises(UserError, match="does not fit this base model"):
        other.load(tmp_path / "a.safetensors")


def test_no_layer_matching_is_refused() -> None:
    with pytest.raises(UserError, match="no Linear or Conv2d layer"):
        TerraAdapter(network(), SPEC.model_copy(update={"include": "attention.*"}), 0)
