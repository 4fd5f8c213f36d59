"""LoRWeB's algebra against LoRAs, dense matrices and finite differences; its files; its encoders."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.config import AdapterSpec, AnalogySpec
from pipeline.core.errors import UserError
from pipeline.diffusion.adapters import load_adapter, make_adapter, saved_spec
from pipeline.diffusion.adapters.lorweb.layer import mixing_weights
from tests.diffusion.adapters.lorweb_samples import WIDTH, adapted, analogies, spec_of
from tests.diffusion.adapters.samples import network, slope

every_mix = pytest.mark.parametrize(
    "spec",
    [spec_of(), spec_of(heads=2), spec_of(mixing="clamp"), spec_of(mixing="clamp", heads=3)],
    ids=["softmax", "softmax-2", "clamp", "clamp-3"],
)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@every_mix
def test_with_b_zero_the_adapted_model_is_the_base_model_exactly(spec: AdapterSpec, x: Tensor) -> None:
    net = network()
    before = net(x.float())
    make_adapter(net, spec, 0).set_condition(analogies(len(x)))
    assert torch.equal(net(x.float()), before)


def test_a_basis_of_one_is_a_lora(x: Tensor) -> None:
    """Under softmax its one weight is 1, whatever the analogy. The LoRA is peft's."""
    web, lora = network(), network()
    adapter = make_adapter(web, spec_of(rank=3, basis=1), 0)
    plain = make_adapter(lora, AdapterSpec(type="lora", rank=3, alpha=6.0), 0)
    learned = torch.Generator().manual_seed(5)
    theirs, ours = plain.tensors(), adapter.tensors()
    with torch.no_grad():
        for name, tensor in theirs.items():
            if name.endswith(".down"):
                assert torch.equal(tensor, ours[name]), "both start from the same A"
            else:
                tensor.copy_(torch.randn(tensor.shape, generator=learned))
                ours[name].copy_(tensor.flatten(1))
    for condition in (analogies(1), analogies(len(x))):
        adapter.set_condition(condition)
        assert torch.allclose(web(x.float()), lora(x.float()), atol=1e-5)


def test_one_hot_weights_give_that_basis_lora(x: Tensor) -> None:
    """With clamped products the query is the key of the chosen LoRA, and the other keys are normal to it."""
    spec = spec_of(mixing="clamp")
    net, adapter = adapted(spec)
    for chosen in range(3):
        with torch.no_grad():
            adapter.state.projection.weight.zero_()
            adapter.state.projection.bias.copy_(torch.eye(6)[0] * 6**0.5)
            for layer in adapter.layers.values():
                layer.keys.copy_(torch.eye(6)[1:4])
                layer.keys[chosen] = torch.eye(6)[0]
        expected = {}
        for name, layer in adapter.layers.items():
            own = slice(2 * chosen, 2 * chosen + 2)
            expected[name] = 2.0 * layer.up[:, own] @ layer.down[own].flatten(1)
            weights = torch.eye(3, dtype=torch.float64)[chosen]
            assert torch.allclose(layer.weights(), weights, atol=1e-12)
            assert torch.allclose(layer.delta(weights).flatten(1), expected[name], atol=1e-12)
        plain = network().double()
        with torch.no_grad():
            for name, update in expected.items():
                plain.get_submodule(name).weight += update.view_as(plain.get_submodule(name).weight)
        assert torch.allclose(net(x), plain(x), atol=1e-10)


def test_equal_keys_give_the_mean_of_the_basis() -> None:
    _, adapter = adapted(spec_of(heads=2))
    adapter.set_condition(analogies(1))
    for layer in adapter.layers.values():
        with torch.no_grad():
            layer.keys.copy_(layer.keys[:1].expand_as(layer.keys))
        down, up = layer.down.flatten(1), layer.up
        each = [2.0 * up[:, 2 * i : 2 * i + 2] @ down[2 * i : 2 * i + 2] for i in range(3)]
        assert torch.allclose(layer.delta(layer.weights()).flatten(1), torch.stack(each).mean(0), atol=1e-12)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), heads=st.sampled_from([1, 2, 3]), scale=st.floats(0.1, 30))
def test_softmax_weights_are_a_share_of_the_basis_and_clamped_ones_within_one(
    seed: int, heads: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, keys = (torch.randn(5, 6, generator=generator, dtype=torch.float64) * scale for _ in range(2))
    soft = mixing_weights(AnalogySpec(basis=5, key_width=6, heads=heads), query, keys)
    assert torch.allclose(soft.sum(-1), torch.ones(5, dtype=torch.float64))
    assert (soft >= 0).all()
    hard = mixing_weights(AnalogySpec(basis=5, key_width=6, heads=heads, mixing="clamp"), query, keys)
    assert hard.abs().max() <= 1
    width = 6 // heads
    for n in range(5):
        for i in range(5):
            parts = [
                query[n, h * width : (h + 1) * width] @ keys[i, h * width : (h + 1) * width] / width**0.5
                for h in range(heads)
            ]
            assert hard[n, i].item() == pytest.approx(sum(parts).clamp(-1, 1).item(), abs=1e-9)


@every_mix
def test_a_batch_of_mixed_analogies_equals_its_samples_one_at_a_time(spec: AdapterSpec, x: Tensor) -> None:
    net, adapter = adapted(spec)
    drawn = analogies(len(x))
    adapter.set_condition(drawn)
    together, twice = net(x), net(x.repeat(2, 1, 1, 1))
    assert torch.allclose(twice, together.repeat(2, 1), atol=1e-10), (
        "as classifier-free guidance lines them up"
    )
    for i, one in enumerate(drawn):
        adapter.set_condition(one)
        assert torch.allclose(net(x[i : i + 1])[0], together[i], atol=1e-6)


@every_mix
def test_merged_equals_unmerged_and_unmerge_restores_bit_for_bit(spec: AdapterSpec, x: Tensor) -> None:
    net, adapter = adapted(spec)
    net.float()
    adapter.state.projection.float()
    x = x.float()
    before = {name: layer.base.weight.clone() for name, layer in adapter.layers.items()}
    first, second = analogies(2)
    adapter.set_scale(0.9)
    adapter.set_condition(first)
    expected = net(x)
    adapter.merge(first)
    assert torch.allclose(net(x), expected, atol=1e-4)
    assert not torch.allclose(adapter.layers["4"].base.weight, before["4"], atol=1e-3)
    adapter.merge(second)
    adapter.unmerge()
    assert all(torch.equal(layer.base.weight, before[name]) for name, layer in adapter.layers.items())
    adapter.set_condition(first)
    assert torch.equal(net(x), expected)


def test_in_a_model_of_half_precision_it_mixes_in_that_precision(x: Tensor) -> None:
    """Stage two does not merge it, for each image has a mix of its own."""
    net, adapter = adapted(spec_of())
    adapter.set_condition(analogies(len(x)) * 0.1)
    expected = net(x)
    for layer in adapter.layers.values():
        layer.base.bfloat16()
    made = net(x.bfloat16())
    assert made.dtype == torch.bfloat16
    assert torch.allclose(made.double(), expected, atol=0.05 * expected.abs().max().item())


@every_mix
def test_gradients_agree_with_finite_differences(spec: AdapterSpec, x: Tensor) -> None:
    """Of the query, by the projection's bias, and of everything else that learns."""
    net, adapter = adapted(spec)
    adapter.set_condition(analogies(len(x)) * 0.1)
    layer, projection = adapter.layers["2"], adapter.state.projection
    for parameter in (projection.bias, projection.weight, layer.keys, layer.up, layer.down):
        (gradient,) = torch.autograd.grad(net(x).square().sum(), parameter)
        for where in ((0,) * parameter.ndim, (1,) * parameter.ndim):
            where = tuple(min(i, size - 1) for i, size in zip(where, parameter.shape, strict=True))
            assert gradient[where].item() == pytest.approx(
                slope(net, x, parameter, where), rel=1e-4, abs=1e-6
            )


def test_only_the_adapter_learns_and_it_has_as_many_numbers_as_its_parts() -> None:
    net, adapter = adapted(spec_of())
    assert not any(p.requires_grad for name, p in net.named_parameters() if ".base." in name)
    outer, mix = adapter.parameter_groups(1e-3, 5.0)
    assert (outer["lr"], mix["lr"]) == (1e-3, pytest.approx(5e-3))
    assert {id(p) for p in mix["params"]} == {
        id(p)
        for p in (*adapter.state.projection.parameters(), *(layer.keys for layer in adapter.layers.values()))
    }
    assert len(outer["params"]) == 2 * len(adapter.layers)
    lora = make_adapter(network(), AdapterSpec(type="lora", rank=6, alpha=6.0), 0)
    count = sum(p.numel() for p in adapter.parameters())
    keys, projection = 4 * 3 * 6, WIDTH * 6 + 6
    assert count == sum(p.numel() for p in lora.parameters()) + keys + projection


@every_mix
def test_saved_and_loaded_it_is_the_same(spec: AdapterSpec, tmp_path: Path, x: Tensor) -> None:
    net, adapter = adapted(spec)
    net.float()
    adapter.state.projection.float()
    adapter.save(tmp_path / "a.safetensors")
    other = network()
    loaded = load_adapter(other, tmp_path / "a.safetensors")
    for one in (adapter, loaded):
        one.set_condition(analogies(len(x)))
    assert torch.equal(net(x.float()), other(x.float()))
    assert saved_spec(tmp_path / "a.safetensors") == spec


def test_what_is_no_analogy_is_refused_with_both_sides(x: Tensor) -> None:
    net, adapter = adapted(spec_of())
    with pytest.raises(UserError, match=r"embedded as \[384\].*given was \[\]"):
        adapter.set_condition(0.5)
    with pytest.raises(UserError, match=r"given was \[2, 7\]"):
        adapter.set_condition(torch.zeros(2, 7))
    with pytest.raises(UserError, match="2 analogies were given, but weights are merged at one"):
        adapter.merge(analogies(2))
    adapter.set_condition(analogies(3))
    with pytest.raises(UserError, match="given 3 analogies, but the batch has 4 samples"):
        net(x)


def test_a_file_of_another_basis_names_both_sides(tmp_path: Path) -> None:
    adapted(spec_of())[1].save(tmp_path / "a.safetensors")
    other = make_adapter(network(), spec_of(basis=4), 0)
    with pytest.raises(UserError, match=r"basis=3.*basis=4"):
        other.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"type": "terra", "analogy": {}}, "analogy is for type lorweb"),
        ({"type": "lorweb", "form": "cosine"}, "takes no form"),
        ({"type": "lorweb", "analogy": {"heads": 3, "key_width": 8}}, "multiple of heads = 3"),
        ({"type": "lorweb", "analogy": {"examples": 0}}, "greater than or equal to 1"),
    ],
)
def test_a_description_that_means_nothing_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AdapterSpec(**given)


def test_the_dump_of_the_other_adapters_is_unchanged() -> None:
    """Keys of fine-tunings hash it."""
    assert set(AdapterSpec().model_dump()) == {"type", "form", "rank", "alpha", "layers", "include"}
    assert AdapterSpec(type="lorweb").analogy == AnalogySpec()
