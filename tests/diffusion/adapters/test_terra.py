"""Terra on a small network, in all its forms, against dense matrices and finite differences."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.config import ADAPTER_TYPES, AdapterSpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import adapter_class, adapter_types, make_adapter, saved_spec
from pipeline.diffusion.adapters.terra import SingularWarning, TerraAdapter
from tests.diffusion.adapters.samples import network, slope

SPEC = AdapterSpec(rank=3, alpha=6.0)
SPECS = [
    SPEC.model_copy(update={"form": form, "diagonal": diagonal, "t_dim": t_dim})
    for form in ("linear", "exponential", "cosine")
    for diagonal in (False, True)
    for t_dim in (1, 2, 3)
]
every_form = pytest.mark.parametrize(
    "spec", SPECS, ids=lambda s: f"{s.form}-{'diagonal' if s.diagonal else 'full'}-{s.t_dim}"
)


def adapted(spec: AdapterSpec = SPEC, seed: int = 0) -> tuple[nn.Sequential, TerraAdapter]:
    """A network whose adapter has learned something."""
    net = network().double()
    adapter = TerraAdapter(net, spec, seed)
    generator = torch.Generator().manual_seed(seed)
    net.double()
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return net, adapter


def times(spec: AdapterSpec, count: int) -> Tensor:
    """As `set_condition` takes them: [count], or [count, t_dim]."""
    drawn = torch.randn(count, spec.t_dim, generator=torch.Generator().manual_seed(9))
    return drawn[:, 0] if spec.t_dim == 1 else drawn


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@every_form
def test_with_b_zero_the_adapted_model_is_the_base_model_exactly(spec: AdapterSpec, x: torch.Tensor) -> None:
    net = network().double()
    before = net(x)
    adapter = TerraAdapter(net, spec, 0)
    net.double()
    adapter.set_condition(times(spec, len(x)))
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
    adapter.set_condition(0.0)
    at_zero = net(x)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.middle.zero_()
    adapter.set_condition(0.8)
    assert torch.allclose(net(x), at_zero, atol=1e-12)


@every_form
def test_a_batch_of_mixed_t_equals_its_samples_one_at_a_time(spec: AdapterSpec, x: torch.Tensor) -> None:
    net, adapter = adapted(spec)
    drawn = times(spec, len(x))
    adapter.set_condition(drawn)
    together = net(x)
    for i, t in enumerate(drawn):
        adapter.set_condition(t)
        assert torch.allclose(net(x[i : i + 1])[0], together[i], atol=1e-6)


@every_form
@torch.no_grad()
def test_where_nothing_learns_a_change_of_t_or_of_weights_is_still_seen(
    spec: AdapterSpec, x: torch.Tensor
) -> None:
    """K(t) is kept from pass to pass there."""
    first, second = (adapted(spec, seed) for seed in (0, 1))
    t, later = times(spec, 2)
    for net, adapter in (first, second):
        adapter.set_condition(t)
        net(x)
        adapter.set_condition(later)
        net(x)
        adapter.set_condition(t)
    expected = second[0](x)
    assert not torch.allclose(first[0](x), expected, atol=1e-3)
    for own, theirs in zip(first[1].parameters(), second[1].parameters(), strict=True):
        own.copy_(theirs)
    assert torch.equal(first[0](x), expected)


@every_form
def test_merged_equals_unmerged_and_unmerge_restores_bit_for_bit(spec: AdapterSpec, x: torch.Tensor) -> None:
    net, adapter = adapted(spec)
    before = {name: layer.base.weight.clone() for name, layer in adapter.layers.items()}
    first, second = times(spec, 2)
    adapter.set_condition(first)
    adapter.set_scale(0.9)
    expected = net(x)
    adapter.merge(first)
    assert torch.allclose(net(x), expected, atol=1e-6)
    adapter.merge(second)
    adapter.unmerge()
    assert all(torch.equal(layer.base.weight, before[name]) for name, layer in adapter.layers.items())
    assert torch.equal(net(x), expected)


@every_form
def test_gradients_agree_with_finite_differences(spec: AdapterSpec, x: torch.Tensor) -> None:
    net, adapter = adapted(spec)
    adapter.set_condition(times(spec, len(x)))
    for layer in list(adapter.layers.values())[::2]:  # a Conv2d and a Linear
        for parameter in (layer.middle, layer.up, layer.down):
            (gradient,) = torch.autograd.grad(net(x).square().sum(), parameter)
            for where in ((0,) * parameter.ndim, (1,) * (parameter.ndim - 1) + (2,)):
                where = tuple(min(i, size - 1) for i, size in zip(where, parameter.shape, strict=True))
                assert gradient[where].item() == pytest.approx(
                    slope(net, x, parameter, where), rel=1e-5, abs=1e-6
                )


def test_only_the_adapter_learns_and_w_has_its_own_rate() -> None:
    net, adapter = adapted()
    learning = {id(p) for p in net.parameters() if p.requires_grad}
    assert learning == {id(p) for p in adapter.parameters()}
    outer, middle = adapter.parameter_groups(1e-3, 100.0)
    assert middle["lr"] == pytest.approx(0.1)
    assert outer["lr"] == 1e-3
    assert sum(p.numel() for p in middle["params"]) == len(adapter.layers) * SPEC.rank**2


@every_form
def test_an_adapter_has_r_squared_or_r_numbers_over_a_lora_for_each_dimension(spec: AdapterSpec) -> None:
    """The cosine form has an amplitude and a frequency where the others have one number."""
    adapter = TerraAdapter(network().double(), spec, 0)
    lora = make_adapter(network().double(), SPEC.model_copy(update={"type": "lora"}), 0)
    over = sum(p.numel() for p in adapter.parameters()) - sum(p.numel() for p in lora.parameters())
    each = 3 if spec.diagonal else 9
    numbers = 2 if spec.form == "cosine" else 1
    assert over == len(adapter.layers) * spec.t_dim * each * numbers


@every_form
def test_saved_and_loaded_it_is_the_same(spec: AdapterSpec, tmp_path: Path, x: torch.Tensor) -> None:
    net, adapter = adapted(spec)
    net.float()
    adapter.save(tmp_path / "a.safetensors")
    other, loaded = adapted(spec, seed=5)
    other.float()
    loaded.load(tmp_path / "a.safetensors")
    for one in (adapter, loaded):
        one.set_condition(times(spec, len(x)))
    assert torch.equal(net(x.float()), other(x.float()))
    assert saved_spec(tmp_path / "a.safetensors") == spec


@pytest.mark.parametrize(
    ("t_dim", "t"), [(1, [[0.0, 1.0]]), (2, 0.5), (2, [0.1, 0.2, 0.3]), (3, [[0.1, 0.2]])]
)
def test_a_t_of_the_wrong_dimension_is_refused_with_both(t_dim: int, t: object) -> None:
    _, adapter = adapted(SPEC.model_copy(update={"t_dim": t_dim}))
    with pytest.raises(UserError, match=rf"t has shape \[.*\], but the adapter's t_dim is {t_dim}"):
        adapter.set_condition(t)


def test_other_than_one_t_a_sample_is_refused_with_both(x: torch.Tensor) -> None:
    net, adapter = adapted()
    adapter.set_condition([0.0, 1.0])
    with pytest.raises(UserError, match="given 2 times, but the batch has 4 samples"):
        net(x)
    with pytest.raises(UserError, match="t is 2 points"):
        adapter.merge([0.0, 1.0])


def test_a_form_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    spec = json.dumps(SPEC.model_dump() | {"form": "spline"})
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"terra": spec})
    with pytest.raises(UserError, match=r"form is 'spline'.*'linear', 'exponential' or 'cosine'"):
        saved_spec(tmp_path / "a.safetensors")


def test_merging_where_k_is_singular_says_at_which_t() -> None:
    _, adapter = adapted(AdapterSpec(rank=3, diagonal=True))
    layer = adapter.layers["4"]
    with torch.no_grad():
        for each in adapter.layers.values():
            each.middle.fill_(1.0)
        layer.middle[1] = -1 / 0.4
    assert adapter.singular_times()["4"].tolist() == [-1.0, -1.0, pytest.approx(0.4)]
    with pytest.warns(SingularWarning, match=r"4: K\(t\) .* singular at t = \[0.4\]"):
        adapter.merge(0.4)


def test_the_dump_of_what_was_there_before_the_other_forms_is_unchanged() -> None:
    """Keys of fine-tunings hash it."""
    known = {"type", "form", "rank", "alpha", "layers", "include"}
    assert set(AdapterSpec(diagonal=False, t_dim=1).model_dump(mode="json")) == known
    assert set(AdapterSpec(form="cosine", diagonal=True, t_dim=2).model_dump()) == known | {
        "diagonal",
        "t_dim",
    }


def test_an_adapter_that_does_not_fit_names_both_sides(tmp_path: Path) -> None:
    _, adapter = adapted()
    adapter.save(tmp_path / "a.safetensors")
    narrow = TerraAdapter(network().double(), SPEC.model_copy(update={"rank": 2}), 0)
    with pytest.raises(UserError, match=r"rank=3.*rank=2"):
        narrow.load(tmp_path / "a.safetensors")
    other = TerraAdapter(nn.Sequential(nn.Linear(2, 2)), SPEC, 0)
    with pytest.raises(UserError, match="does not fit this base model"):
        other.load(tmp_path / "a.safetensors")


def test_no_layer_matching_is_refused() -> None:
    with pytest.raises(UserError, match="no Linear or Conv2d layer"):
        TerraAdapter(network().double(), SPEC.model_copy(update={"include": "attention.*"}), 0)


def test_every_type_of_adapter_that_a_suite_can_name_is_registered_and_no_other() -> None:
    assert adapter_types() == sorted(ADAPTER_TYPES)
    with pytest.raises(UserError, match="no adapter 'dora'; expected lora, lorweb, terra"):
        adapter_class("dora")
