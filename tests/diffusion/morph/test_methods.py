"""Morphs: the laws of what lies between, and what each method makes of two images."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.config import AdapterSpec, BaseModelSpec, MorphSettings
from pipeline.data.image_sets import load_labelled
from pipeline.diffusion.adapters import TerraAdapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.morph.attention import AttentionBetween, is_replaced
from pipeline.diffusion.morph.endpoints import End, EndsData
from pipeline.diffusion.morph.interpolation import blended_prompts, blended_statistics, rescheduled, slerp
from pipeline.diffusion.morph.lora_pair import LoraPair
from pipeline.diffusion.morph.methods import METHODS
from pipeline.diffusion.morph.sampling import Painter, adapted, make_morph, tune
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings
from pipeline.metrics.definitions import psnr
from pipeline.metrics.distances import pixel_distances

FAST = MorphSettings(tune_steps=3, batch_size=1, learning_rate=2e-3, rank=2, steps=8, at_a_time=8)
"""Little tuning: what is tested holds for any weights, and these are not those of the base model."""

SPEC = AdapterSpec(rank=2, alpha=2, layers=["Linear", "Conv2d"])


def silent(done: int, total: int, what: str) -> None:
    """Nobody looks."""


@pytest.fixture(scope="module")
def mini() -> BaseModel:
    return BaseModel.load(BaseModelSpec(name="mini"))


@pytest.fixture(scope="module")
def two_ends(digits_artifact: Path) -> tuple[End, End]:
    """A white three on black, and a coloured seven."""
    found = []
    for domain, label, told in (("MN", 3, "a three"), ("SY", 7, "a seven")):
        images = load_labelled(digits_artifact, domain, "train")
        found.append(End(images.images[np.flatnonzero(images.labels == label)[:1]], told))
    return tuple(found)


# What lies between

places = st.floats(0, 1)
latents = st.integers(0, 2**31).map(
    lambda seed: torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
)


@given(latents, latents, places)
def test_slerp_is_the_same_from_both_sides(a: torch.Tensor, b: torch.Tensor, s: float) -> None:
    one = slerp(a, b, torch.tensor([s], dtype=torch.float64))
    other = slerp(b, a, torch.tensor([1 - s], dtype=torch.float64))
    assert torch.allclose(one, other, atol=1e-9)


@given(latents, latents, places)
def test_slerp_goes_through_equal_angles_on_the_sphere(a: torch.Tensor, b: torch.Tensor, s: float) -> None:
    a, b = a / a.norm(), b / b.norm()
    there = slerp(a, b, torch.tensor([s], dtype=torch.float64))
    assert there.norm().item() == pytest.approx(1)
    # The angle of unit vectors by their difference: arccos is inexact near 0.
    angle = lambda x, y: 2 * math.asin(min(1.0, (x - y).norm().item() / 2))
    assert angle(a, there) == pytest.approx(s * angle(a, b), abs=1e-6)


@given(latents)
def test_slerp_of_one_and_the_same_stays_there(a: torch.Tensor) -> None:
    there = slerp(a, a, torch.linspace(0, 1, 5, dtype=torch.float64))
    assert torch.allclose(there, a.expand(5, -1, -1, -1))


@given(latents)
def test_slerp_of_parallel_latents_is_the_line_between_them(a: torch.Tensor) -> None:
    there = slerp(a, 3 * a, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert torch.allclose(there, torch.cat([a, 2 * a, 3 * a]), atol=1e-6)


def test_slerp_of_opposite_latents_is_finite_and_ends_at_them() -> None:
    a = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    there = slerp(a, -a, torch.linspace(0, 1, 5, dtype=torch.float64))
    assert torch.isfinite(there).all()
    assert torch.allclose(there[[0, -1]], torch.cat([a, -a]), atol=1e-5)


@given(latents, latents, places)
def test_statistics_lie_between_those_of_the_ends(a: torch.Tensor, b: torch.Tensor, s: float) -> None:
    a, b = 3 * a + 1, b - 2
    made = blended_statistics(torch.randn_like(a), a, b, torch.tensor([s], dtype=torch.float64))
    for statistic in (torch.mean, torch.std):
        of_a, of_b, of_made = (statistic(x, dim=(2, 3)) for x in (a, b, made))
        assert torch.allclose(of_made, (1 - s) * of_a + s * of_b)


def test_statistics_at_an_end_leave_that_end_as_it_is() -> None:
    a, b = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8) * 2
    made = blended_statistics(torch.cat([a, b]), a, b, torch.tensor([0.0, 1.0]))
    assert torch.allclose(made, torch.cat([a, b]), atol=1e-5)


def test_prompts_are_on_the_line_between_the_ends() -> None:
    ends = PromptEmbeddings(torch.tensor([[[0.0, 4.0]], [[8.0, 0.0]]]), pooled=torch.tensor([[1.0], [3.0]]))
    made = blended_prompts(ends, torch.tensor([0.0, 0.25, 1.0]))
    assert made.prompts.tolist() == [[[0.0, 4.0]], [[2.0, 3.0]], [[8.0, 0.0]]]
    assert made.pooled.tolist() == [[1.0], [1.5], [3.0]]
    assert made.sizes is None


@given(st.floats(0.6, 3), st.integers(3, 40))
def test_rescheduling_a_known_curve_gives_equal_steps(power: float, count: int) -> None:
    """Distance from X grows as place ** power. Measured densely, new places are at (k / (n - 1)) ** (1 / power)."""
    dense = np.linspace(0, 1, 4001)
    found = rescheduled(dense, np.diff(dense**power))[:: 4000 // (count - 1)]
    wanted = dense[:: 4000 // (count - 1)] ** (1 / power)
    assert np.allclose(found, wanted, atol=2e-3)
    assert np.allclose(np.diff(found**power), np.diff(found**power).mean(), atol=5e-3)


def test_rescheduling_keeps_ends_order_and_what_does_not_move() -> None:
    places = np.linspace(0, 1, 5)
    assert rescheduled(places, np.zeros(4)).tolist() == places.tolist()
    found = rescheduled(places, np.array([0.0, 3.0, 1.0, 0.0]))
    assert found[0] == 0
    assert found[-1] == 1
    assert (np.diff(found) >= 0).all()
    assert found[1] == pytest.approx(
        0.25 + 0.25 / 3
    )  # a quarter of the way: the first third of the second step


# Two LoRAs in one


def test_a_pair_is_each_lora_at_its_end_and_their_blend_between() -> None:
    torch.manual_seed(0)
    denoiser = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Flatten(2), nn.Linear(16, 5)
    ).double()
    weights = [denoiser[i].weight.detach().clone() for i in (0, 2)]
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    pair = LoraPair(denoiser, SPEC, seed=0)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.data = torch.randn_like(parameter, dtype=torch.float64)
    layers, t = [pair.layers[name] for name in ("0", "2")], [0.0, 0.3, 1.0]
    pair.set_condition(torch.tensor(t))
    together = denoiser(x)
    for place, sample in zip(t, x, strict=True):
        for layer, weight in zip(layers, weights, strict=True):
            halves = zip(layer.up.split(2, dim=1), layer.down.flatten(1).split(2), strict=True)
            first, last = (up @ down for up, down in halves)
            update = ((1 - place) * first + place * last).reshape(weight.shape)
            layer.base.weight.data = weight + update
            layer._base_weight = weight  # so that the layer adds nothing more
        alone = denoiser(sample[None])[0]
        assert torch.allclose(together[t.index(place)], alone)
        pair.unmerge()
        pair.merge(place)
        assert torch.allclose(denoiser(sample[None])[0], alone)
        pair.unmerge()
    assert all(torch.equal(layer.base.weight, weight) for layer, weight in zip(layers, weights, strict=True))


def test_the_loras_of_a_pair_learn_from_their_own_ends_alone(
    mini: BaseModel, two_ends: tuple[End, End]
) -> None:
    own, pair = adapted(mini, METHODS["lora_interp"](FAST))
    data, other = (EndsData(own, FAST, ends) for ends in (two_ends, (two_ends[0], two_ends[0])))
    tune(own, pair, data, silent)
    again, with_another = adapted(mini, METHODS["lora_interp"](FAST))
    tune(again, with_another, other, silent)
    name = next(name for name in pair.layers if "to_v" in name)
    ups = [p.layers[name].up.split(FAST.rank, dim=1) for p in (pair, with_another)]
    # Gradients are clipped together, so that they agree in what they learn up to the size of a step.
    assert torch.allclose(ups[0][0], ups[1][0], atol=2e-3)
    assert (ups[0][1] - ups[1][1]).abs().max() > 2e-3


# Attention


class Projection(nn.Module):
    """Stands for a denoiser: one self-attention's keys and values on the way up, and keys elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        attention = nn.ModuleDict({name: nn.Linear(3, 2) for name in ("to_k", "to_v", "to_q")})
        self.up_blocks = nn.ModuleList(
            [nn.ModuleDict({"attn1": attention, "attn2": nn.ModuleDict({"to_k": nn.Linear(3, 2)})})]
        )
        self.down_blocks = nn.ModuleList([nn.ModuleDict({"attn1": nn.ModuleDict({"to_k": nn.Linear(3, 2)})})])


def test_attention_is_each_ends_own_at_0_and_1_and_between_else() -> None:
    torch.manual_seed(0)
    denoiser, x = Projection(), torch.randn(4, 5, 3)
    layers = denoiser.up_blocks[0]["attn1"]
    own = {name: layer(x) for name, layer in layers.items()}
    attention = AttentionBetween(torch.tensor([0.0, 0.25, 0.5, 1.0]))
    with attention.within(denoiser):
        for name in ("to_k", "to_v"):
            made, plain = layers[name](x), own[name]
            assert torch.equal(made[[0, -1]], plain[[0, -1]])
            assert torch.allclose(made[1], 0.75 * plain[0] + 0.25 * plain[-1])
            assert torch.allclose(made[2], 0.5 * plain[0] + 0.5 * plain[-1])
        assert torch.equal(layers["to_q"](x), own["to_q"])
        attention.on = False
        assert torch.equal(layers["to_k"](x), own["to_k"])
    attention.on = True
    assert torch.equal(layers["to_k"](x), own["to_k"])


def test_attention_is_replaced_in_self_attention_on_the_way_up_alone(mini: BaseModel) -> None:
    names = [name for name, _ in Projection().named_modules() if is_replaced(name)]
    assert names == ["up_blocks.0.attn1.to_k", "up_blocks.0.attn1.to_v"]
    replaced = [name for name, _ in mini.denoiser.named_modules() if is_replaced(name)]
    assert len(replaced) == 2 * sum(
        name.endswith("attn1") and name.startswith("up_") for name, _ in mini.denoiser.named_modules()
    )
    assert replaced


# Whole morphs

SYMMETRIC = ("ddim", "lora_interp", "diffmorpher")
"""Methods that treat X and Y alike. Terra does not: it is a LoRA at t = 0, and something more at t = 1."""


@pytest.fixture(scope="module")
def painters(mini: BaseModel, two_ends: tuple[End, End]) -> dict[str, Painter]:
    """Of each method, tuned on the two ends, and of SYMMETRIC ones in both orders: NAME and 'NAME reversed'."""
    found = {}
    for name, method in METHODS.items():
        orders = {"": two_ends} | ({" reversed": two_ends[::-1]} if name in SYMMETRIC else {})
        for order, ends in orders.items():
            morph = method(FAST, pixel_distances)
            own, adapter = adapted(mini, morph)
            data = EndsData(own, FAST, ends)
            if adapter is not None:
                tune(own, adapter, data, silent)
            found[name + order] = Painter(own, adapter, morph, data, silent)
    return found


@pytest.mark.parametrize("name", METHODS)
def test_the_first_and_the_last_frame_reconstruct_the_ends(
    name: str, painters: dict[str, Painter], mini: BaseModel, two_ends: tuple[End, End]
) -> None:
    """Measured for all methods, with these 8 steps: 27.3 and 33.4 dB to the images, 34 and more to what the autoencoder,
    which no method changes, gives back of them (28.7 and 40.4)."""
    made = painters[name].paint(np.array([0.0, 0.5, 1.0]))
    for frame, end in zip(made[[0, -1]], two_ends, strict=True):
        most = mini.decode(mini.encode(end.images))[0]
        assert psnr(frame, most) > 31
        assert psnr(frame, end.images[0]) > 25
        assert psnr(frame, end.images[0]) > psnr(made[1], end.images[0]) + 3


@pytest.mark.parametrize("name", SYMMETRIC)
def test_x_and_y_exchanged_give_the_same_frames_backwards(name: str, painters: dict[str, Painter]) -> None:
    places = np.array([0.0, 0.3, 0.5, 1.0])
    there, back = painters[name], painters[f"{name} reversed"]
    frames, backwards = there.paint(places), back.paint(1 - places[::-1])[::-1]
    assert min(map(psnr, frames, backwards)) > 40


@pytest.mark.parametrize("name", METHODS)
def test_a_morph_from_an_image_to_itself_stays_there(
    name: str, mini: BaseModel, two_ends: tuple[End, End]
) -> None:
    end = two_ends[0]
    settings = FAST.model_copy(
        update={"tune_steps": 1}
    )  # one step, after which a Terra is still nearly the same at 0 and 1
    made = make_morph(mini, name, (end, end), settings, 4, pixel_distances, silent).frames
    assert min(psnr(frame, made[0]) for frame in made) > 40
    assert psnr(made[0], mini.decode(mini.encode(end.images))[0]) > 31


def test_rescheduled_frames_are_at_more_equal_steps(painters: dict[str, Painter]) -> None:
    painter = painters["diffmorpher"]
    _, frames = painter.morph.frames(7, painter.paint)
    before = pixel_distances(painter.paint(np.linspace(0, 1, 7)))
    after = pixel_distances(frames)
    assert after.std() / after.mean() < 0.7 * before.std() / before.mean()


def test_frames_do_not_depend_on_how_many_are_made_at_a_time(painters: dict[str, Painter]) -> None:
    painter, places = painters["terra_diffmorpher"], np.linspace(0, 1, 5)
    whole = painter.paint(places)
    painter.settings = painter.settings.model_copy(update={"at_a_time": 3})
    try:
        assert min(map(psnr, painter.paint(places), whole)) > 45
    finally:
        painter.settings = FAST


def test_styles_start_from_one_noise_and_change_by_weights_and_prompts_alone(
    mini: BaseModel, two_ends: tuple[End, End]
) -> None:
    several = tuple(End(np.repeat(end.images, 2, axis=0), end.prompt) for end in two_ends)
    morph = METHODS["terra"](FAST)
    own, adapter = adapted(mini, morph)
    assert isinstance(adapter, TerraAdapter)
    painter = Painter(own, adapter, morph, EndsData(own, FAST, several), silent)
    assert torch.equal(painter.ends[0], painter.ends[1])
    assert len(painter.paint(np.linspace(0, 1, 3))) == 3


def test_making_a_morph_leaves_the_base_model_as_it_was(mini: BaseModel, two_ends: tuple[End, End]) -> None:
    before = {name: tensor.clone() for name, tensor in mini.denoiser.state_dict().items()}
    make_morph(mini, "terra", two_ends, FAST, 2, pixel_distances, silent)
    after = mini.denoiser.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
