"""Whole morphs: what each method makes of two images."""

import numpy as np
import pytest
import torch

from pipeline.diffusion.adapters import TerraAdapter
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.morph.endpoints import Endpoint, EndpointData
from pipeline.diffusion.morph.methods import METHODS
from pipeline.diffusion.morph.sampling import FrameSampler, make_morph, tune, with_adapter
from pipeline.metrics.definitions import psnr
from pipeline.metrics.distances import pixel_distances
from tests.diffusion.morph.morph_samples import FAST

SYMMETRIC = ("ddim", "lora_interp", "diffmorpher")
"""Methods that treat X and Y alike. Terra does not: it is a LoRA at t = 0, and something more at t = 1."""


@pytest.fixture(scope="module")
def samplers(mini: BaseModel, two_ends: tuple[Endpoint, Endpoint]) -> dict[str, FrameSampler]:
    """A sampler of each method, fine-tuned on the endpoints; of SYMMETRIC ones also 'NAME reversed'."""
    found = {}
    for name, method in METHODS.items():
        orders = {"": two_ends} | ({" reversed": two_ends[::-1]} if name in SYMMETRIC else {})
        for order, ends in orders.items():
            morph = method(FAST, pixel_distances)
            own, adapter = with_adapter(mini, morph)
            data = EndpointData(own, FAST, ends)
            if adapter is not None:
                tune(own, adapter, data)
            found[name + order] = FrameSampler(own, adapter, morph, data)
    return found


@pytest.mark.parametrize("name", METHODS)
def test_the_first_and_the_last_frame_reconstruct_the_ends(
    name: str, samplers: dict[str, FrameSampler], mini: BaseModel, two_ends: tuple[Endpoint, Endpoint]
) -> None:
    """With these 8 steps, all methods reach 27.3 and 33.4 dB to the images.

    It is 34 dB to the autoencoder's reconstructions, which no method changes (28.7 and 40.4 dB).
    """
    made = samplers[name].sample_frames(np.array([0.0, 0.5, 1.0]))
    for frame, end in zip(made[[0, -1]], two_ends, strict=True):
        most = mini.decode(mini.encode(end.images))[0]
        assert psnr(frame, most) > 31
        assert psnr(frame, end.images[0]) > 25
        assert psnr(frame, end.images[0]) > psnr(made[1], end.images[0]) + 3


def test_blends_of_diffmorphers_code_and_paper_differ_between_the_ends_alone(
    mini: BaseModel, two_ends: tuple[Endpoint, Endpoint]
) -> None:
    """With the same LoRAs, learned fast enough that their product matters."""
    given = FAST.model_copy(update={"learning_rate": 2e-2, "first_down": "rank"})
    frames = []
    for blend, attention in (("update", "keys"), ("factors", "keys"), ("update", "hidden")):
        changes = {"blend": blend, "attention_of": attention}
        morph = METHODS["diffmorpher"](given.model_copy(update=changes), pixel_distances)
        own, adapter = with_adapter(mini, morph)
        data = EndpointData(own, morph.settings, two_ends)
        assert adapter is not None
        tune(own, adapter, data)
        sampler = FrameSampler(own, adapter, morph, data)
        frames.append(sampler.sample_frames(np.array([0.0, 0.5, 1.0])).astype(int))
    for other in frames[1:]:
        assert np.abs(other[[0, -1]] - frames[0][[0, -1]]).max() <= 1
        assert np.abs(other[1] - frames[0][1]).max() > 1


def test_inversion_at_the_upper_timestep_is_asked_for_by_name(
    mini: BaseModel, two_ends: tuple[Endpoint, Endpoint]
) -> None:
    """It leads to other noise, and by refined steps back to nearly the same image."""
    samplers = []
    for timestep in ("lower", "upper"):
        morph = METHODS["ddim"](FAST.model_copy(update={"inversion_timestep": timestep}))
        samplers.append(FrameSampler(mini, None, morph, EndpointData(mini, morph.settings, two_ends)))
    lower, upper = (sampler.endpoints for sampler in samplers)
    assert (lower - upper).abs().max() > 1e-3 * lower.abs().max()
    assert psnr(samplers[1].sample_frames(np.array([0.0, 0.5, 1.0]))[0], two_ends[0].images[0]) > 20


@pytest.mark.parametrize("name", SYMMETRIC)
def test_x_and_y_exchanged_give_the_same_frames_backwards(
    name: str, samplers: dict[str, FrameSampler]
) -> None:
    places = np.array([0.0, 0.3, 0.5, 1.0])
    there, back = samplers[name], samplers[f"{name} reversed"]
    frames, backwards = there.sample_frames(places), back.sample_frames(1 - places[::-1])[::-1]
    assert min(map(psnr, frames, backwards)) > 40


@pytest.mark.parametrize("name", METHODS)
def test_a_morph_from_an_image_to_itself_stays_there(
    name: str, mini: BaseModel, two_ends: tuple[Endpoint, Endpoint]
) -> None:
    end = two_ends[0]
    settings = FAST.model_copy(
        update={"tune_steps": 1}
    )  # one step, after which a Terra is still nearly the same at 0 and 1
    made = make_morph(mini, name, (end, end), settings, 4, pixel_distances).frames
    assert min(psnr(frame, made[0]) for frame in made) > 40
    assert psnr(made[0], mini.decode(mini.encode(end.images))[0]) > 31


def test_rescheduled_frames_are_at_more_equal_steps(samplers: dict[str, FrameSampler]) -> None:
    sampler = samplers["diffmorpher"]
    _, frames = sampler.morph.frames(7, sampler.sample_frames)
    before = pixel_distances(sampler.sample_frames(np.linspace(0, 1, 7)))
    after = pixel_distances(frames)
    assert after.std() / after.mean() < 0.7 * before.std() / before.mean()


def test_frames_do_not_depend_on_how_many_are_made_at_a_time(samplers: dict[str, FrameSampler]) -> None:
    sampler, places = samplers["terra_diffmorpher"], np.linspace(0, 1, 5)
    whole = sampler.sample_frames(places)
    sampler.settings = sampler.settings.model_copy(update={"at_a_time": 3})
    try:
        assert min(map(psnr, sampler.sample_frames(places), whole)) > 45
    finally:
        sampler.settings = FAST


def test_styles_start_from_one_noise_and_change_by_weights_and_prompts_alone(
    mini: BaseModel, two_ends: tuple[Endpoint, Endpoint]
) -> None:
    several = tuple(Endpoint(np.repeat(end.images, 2, axis=0), end.prompt) for end in two_ends)
    morph = METHODS["terra"](FAST)
    own, adapter = with_adapter(mini, morph)
    assert isinstance(adapter, TerraAdapter)
    sampler = FrameSampler(own, adapter, morph, EndpointData(own, FAST, several))
    assert torch.equal(sampler.endpoints[0], sampler.endpoints[1])
    assert len(sampler.sample_frames(np.linspace(0, 1, 3))) == 3


def test_making_a_morph_leaves_the_base_model_as_it_was(
    mini: BaseModel, two_ends: tuple[Endpoint, Endpoint]
) -> None:
    before = {name: tensor.clone() for name, tensor in mini.denoiser.state_dict().items()}
    make_morph(mini, "terra", two_ends, FAST, 2, pixel_distances)
    after = mini.denoiser.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
