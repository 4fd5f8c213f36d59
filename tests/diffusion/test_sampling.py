"""DDIM in both directions: against its closed form, its own inverse, and diffusers' scheduler."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from pipeline.config import BaseModelSpec, Guidance
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings
from pipeline.diffusion.sampling import (
    Levels,
    adain,
    classifier_free,
    content_style,
    guided,
    invert,
    sample,
)


class Output:
    def __init__(self, value: torch.Tensor) -> None:
        self.sample = value


class Toy(nn.Module):
    """A denoiser that multiplies: f(x, t, prompt) = x * gain * mean(prompt)."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: torch.Tensor, t: int, encoder_hidden_states: torch.Tensor) -> Output:
        return Output(x * self.gain * encoder_hidden_states.mean((1, 2))[:, None, None, None])


PROMPT, EMPTY = (PromptEmbeddings(torch.full((2, 3, 4), value)) for value in (2.0, 0.5))


@pytest.fixture(scope="module")
def model(sd15_folder: Path) -> BaseModel:
    """In float64, in which the order of a batch's sums changes a result by about 1e-13."""
    model = BaseModel.load(BaseModelSpec(name=str(sd15_folder), resolution=64))
    model.pipe.to(torch.float64)
    model.alpha_bar = model.alpha_bar.double()
    return model


def test_levels_end_at_the_last_timestep_and_begin_clean(model: BaseModel) -> None:
    levels = Levels.make(model, 10)
    assert levels.timesteps == [0, 99, 199, 299, 399, 499, 599, 699, 799, 899, 999]
    assert levels.alpha_bar[0] == 1
    assert torch.equal(levels.alpha_bar[1:], model.alpha_bar[levels.timesteps[1:]])
    assert Levels.make(model, 10, depth=0.5).timesteps[-1] == 499


def test_classifier_free_guidance_is_the_formula() -> None:
    x = torch.randn(2, 4, 8, 8)
    toy = Toy(1.0)
    assert torch.allclose(classifier_free(toy, PROMPT, EMPTY, 3.0)(x, 5), x * (0.5 + 3 * 1.5))
    assert torch.allclose(classifier_free(toy, PROMPT, EMPTY, 1.0)(x, 5), x * 2.0)


def test_content_style_guidance_takes_look_and_class_from_their_own_denoisers() -> None:
    x = torch.randn(2, 4, 8, 8)
    predict = content_style(Toy(10.0), Toy(1.0), PROMPT, EMPTY, 3.0)
    assert torch.allclose(predict(x, 5), x * (10 * 0.5 + 3 * 1.5))
    named = guided(Guidance(weight=3.0), Toy(10.0), Toy(1.0), PROMPT, EMPTY)
    assert torch.allclose(named(x, 5), predict(x, 5))
    toy = Toy(10.0)
    both = content_style(toy, toy, PROMPT, EMPTY, 3.0), guided(Guidance(weight=3.0), toy, toy, PROMPT, EMPTY)
    assert torch.allclose(both[0](x, 5), both[1](x, 5)), "of one denoiser, it is classifier-free guidance"


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_sampling_agrees_with_diffusers(model: BaseModel, prediction: str) -> None:
    model = BaseModel(model.pipe, model.denoiser, model.alpha_bar, prediction, 64)
    scheduler = DDIMScheduler(
        trained_betas=(1 - model.alpha_bar / torch.cat([torch.ones(1), model.alpha_bar[:-1]])).numpy(),
        timestep_spacing="trailing",
        prediction_type=prediction,
        clip_sample=False,
        set_alpha_to_one=True,
    )
    scheduler.set_timesteps(10)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    predict = classifier_free(
        model.denoiser, model.embed(["a two", "a nine"]), model.embed(["an image"] * 2), 2.0
    )
    theirs = x
    with torch.inference_mode():
        for t in scheduler.timesteps:
            theirs = scheduler.step(predict(theirs, int(t)), t, theirs).prev_sample
    ours = sample(model, predict, x, Levels.make(model, 10))
    assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4)  # its alpha_bar is float32


def test_inversion_then_sampling_leads_back(model: BaseModel) -> None:
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    predict = classifier_free(
        model.denoiser, model.embed(["a two", "a nine"]), model.embed(["an image"] * 2), 1.0
    )
    levels = Levels.make(model, 50)
    plain = sample(model, predict, invert(model, predict, x, levels), levels)
    refined = sample(model, predict, invert(model, predict, x, levels, refinements=3), levels)
    assert (refined - x).abs().mean() < (plain - x).abs().mean()
    assert (refined - x).abs().mean() < 0.02


def test_a_batch_equals_its_images_one_at_a_time(model: BaseModel) -> None:
    x = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prompts, levels = model.embed(["a two", "a nine", "a one"]), Levels.make(model, 5)
    together = invert(model, classifier_free(model.denoiser, prompts, prompts, 1.0), x, levels)
    together = sample(model, classifier_free(model.denoiser, prompts, prompts, 1.0), together, levels)
    for i in range(3):
        predict = classifier_free(model.denoiser, prompts[i : i + 1], prompts[i : i + 1], 1.0)
        alone = sample(model, predict, invert(model, predict, x[i : i + 1], levels), levels)
        assert torch.allclose(alone[0], together[i], atol=1e-10)


def test_images_are_encoded_and_decoded_at_the_models_resolution(model: BaseModel) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    latents = model.encode(images)
    assert latents.shape == (3, 4, 8, 8)
    decoded = model.decode(latents)
    assert decoded.shape == (3, 64, 64, 3)
    assert decoded.dtype == np.uint8


def test_split_and_target_are_inverse(model: BaseModel) -> None:
    clean, noise = torch.randn(2, 2, 4, 8, 8, dtype=torch.float64)
    timesteps = torch.tensor([40, 600])
    alpha_bar = model.alpha_bar[timesteps][:, None, None, None]
    noisy = model.add_noise(clean, noise, timesteps)
    assert torch.equal(noisy, alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise)
    for prediction in ("epsilon", "v_prediction"):
        one = BaseModel(model.pipe, model.denoiser, model.alpha_bar, prediction, 64)
        found_clean, found_noise = one.split(one.target(clean, noise, timesteps), noisy, alpha_bar)
        assert torch.allclose(found_clean, clean, atol=1e-12)
        assert torch.allclose(found_noise, noise, atol=1e-12)


def test_adain_takes_over_mean_and_deviation_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 3 + 0.2 * torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64)
    like = torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64)
    moved = adain(x, like)
    for statistic in (torch.mean, torch.std):
        assert torch.allclose(statistic(moved, dim=(2, 3)), statistic(like, dim=(2, 3)), atol=1e-12)
    assert torch.allclose(adain(moved, x), x, atol=1e-12)
    assert torch.allclose(adain(x, x), x, atol=1e-12)
