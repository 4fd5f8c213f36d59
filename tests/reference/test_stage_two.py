"""Stage two against stock pipelines of diffusers: same scheduler, seeds and zeroed negative embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, EulerDiscreteScheduler
from diffusers.utils.torch_utils import randn_tensor

from pipeline.config import BaseModelSpec, Guidance, PairParams
from pipeline.core.errors import UserError
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.merged_denoisers import Denoisers
from pipeline.diffusion.generate.stage import BatchInputs, make_batch
from pipeline.diffusion.sampling import Levels, negative_embeddings, start_noise
from pipeline.planning.kinds.generate import GenerateParams
from pipeline.planning.kinds.sampling import InversionSettings
from tests import tiny_pipelines

PROMPTS, SEEDS, STEPS = ["a two", "a nine", "a one"], [7, 8, 9], 10
"""The 1,000 timesteps are a multiple of the steps, because DDIM of diffusers takes wrong steps otherwise."""

SIZES = {"sd15": 64, "sdxl": 16}


@dataclass
class Both:
    """One tiny pipeline in float64, by itself and as a base model whose `decode` returns latents."""

    pipe: Any
    model: BaseModel

    def stock(self, scheduler: Any, weight: float, **options: object) -> torch.Tensor:
        """The latents that the stock pipeline samples; an SDXL zeroes the negative embedding by itself."""
        self.pipe.scheduler = scheduler
        if not hasattr(self.pipe, "text_encoder_2"):
            options["negative_prompt_embeds"] = torch.zeros_like(self.model.embed(PROMPTS).prompts)
        size = self.model.resolution
        asked = {"height": size, "width": size, "guidance_scale": weight, "num_inference_steps": STEPS}
        return self.pipe(PROMPTS, output_type="latent", **asked | options).images

    def ours(self, params: GenerateParams, source: np.ndarray | None = None) -> torch.Tensor:
        """The latents that stage two samples."""
        prompts, negative = self.model.embed(PROMPTS), negative_embeddings(self.model, params)
        inputs = BatchInputs(prompts, self.model.embed(["an image"]), negative, SEEDS, source)
        denoisers = Denoisers(self.model.denoiser, self.model.denoiser, self.model.denoiser)
        return torch.from_numpy(make_batch(self.model, denoisers, params, inputs))


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def both(request: pytest.FixtureRequest) -> Both:
    pipe = getattr(tiny_pipelines, request.param)().to(torch.float64)
    pipe.set_progress_bar_config(disable=True)
    model = BaseModel.wrap(pipe, SIZES[request.param])
    model.alpha_bar = model.alpha_bar.double()
    model.decode = lambda latents: latents.numpy()  # type: ignore[method-assign]
    return Both(pipe, model)


def parameters(both: Both, **changes: object) -> GenerateParams:
    adapted = changes.get("contents") == "adapted"
    told = {
        "contents": "base",
        "pair": PairParams(source="S", target="T", words=["two", "nine", "one"]) if adapted else None,
        "words": ["two", "nine", "one"],
        "per_class": 1,
        "inversion": InversionSettings(depth=1.0, refinements=0, statistics="own"),
        "base_model": BaseModelSpec(name="tiny", resolution=both.model.resolution),
        "guidance": Guidance(weight=7.5),
        "negative": "zeros",
        "steps": STEPS,
        "batch_size": 3,
        "scale": 1.0,
        "source_prompt": "a {class}",
        "target_prompt": "an image",
        "seed": 0,
        "threads": 1,
    }
    return GenerateParams(**told | changes)


def stock_noise(both: Both) -> torch.Tensor:
    """The noise of a stock pipeline in float32 for a list of generators, one for each image."""
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    return randn_tensor((len(SEEDS), *both.model.latent_shape), generator=generators)


def scheduler(kind: Any, both: Both, **options: object) -> Any:
    made = kind.from_config(both.pipe.scheduler.config, **options)
    if hasattr(made, "final_alpha_cumprod"):
        made.alphas_cumprod = made.alphas_cumprod.double()
        made.final_alpha_cumprod = made.final_alpha_cumprod.double()
    return made


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_noise_equals_that_of_the_stock_pipeline_with_the_same_seeds(both: Both) -> None:
    assert torch.equal(start_noise(both.model, SEEDS), stock_noise(both))


@pytest.mark.parametrize("weight", [1.0, 7.5])
@pytest.mark.parametrize(("spacing", "offset"), [("trailing", 0), ("leading", 0), ("leading", 1)])
def test_sampling_from_noise_equals_the_stock_pipeline_with_ddim(
    both: Both, spacing: str, offset: int, weight: float
) -> None:
    params = parameters(both, spacing=spacing, steps_offset=offset, guidance=Guidance(weight=weight))
    ddim = scheduler(
        DDIMScheduler,
        both,
        timestep_spacing=spacing,
        steps_offset=offset,
        set_alpha_to_one=True,
        clip_sample=False,
    )
    assert_close(both.ours(params), both.stock(ddim, weight, latents=stock_noise(both).double()))


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_sampling_from_noise_equals_the_stock_pipeline_with_euler(both: Both, spacing: str) -> None:
    """As the authors of Terra sample: SDXL's own Euler scheduler, whose spacing is leading with offset 1."""
    offset = 1 if spacing == "leading" else 0
    euler = scheduler(EulerDiscreteScheduler, both, timestep_spacing=spacing, steps_offset=offset)
    theirs = both.stock(euler, 7.5, latents=_scaled_noise(both, euler))
    assert_close(both.ours(parameters(both, spacing=spacing, steps_offset=offset)), theirs)


def _scaled_noise(both: Both, euler: Any) -> torch.Tensor:
    """The noise itself under leading spacing; under others the stock pipeline's is 0.2 % too small."""
    euler.set_timesteps(STEPS)
    return stock_noise(both).double() * (euler.sigmas[0].double() ** 2 + 1).sqrt() / euler.init_noise_sigma


def test_adapted_images_equal_the_inverse_scheduler_and_the_stock_pipeline(both: Both) -> None:
    """As the authors adapt images: leading, offset 1, no clean level, noise at the upper timestep."""
    images = np.random.default_rng(0).integers(0, 256, (3, *[both.model.resolution] * 2, 3), dtype=np.uint8)
    spaced = {"timestep_spacing": "leading", "steps_offset": 1}
    options = spaced | {"set_alpha_to_one": False, "clip_sample": False}
    inverse, ddim = (scheduler(kind, both, **options) for kind in (DDIMInverseScheduler, DDIMScheduler))
    inverse.alphas_cumprod = inverse.alphas_cumprod.double()
    inverse.initial_alpha_cumprod = inverse.initial_alpha_cumprod.double()
    inverse.set_timesteps(STEPS)
    latents, prompts = both.model.encode(images).double(), both.model.embed(PROMPTS)
    added = {"text_embeds": prompts.pooled, "time_ids": prompts.sizes}
    with torch.inference_mode():
        for t in inverse.timesteps:
            noise = both.model.denoiser(latents, t, prompts.prompts, added_cond_kwargs=added).sample
            latents = inverse.step(noise, int(t), latents).prev_sample
    inversion = InversionSettings(depth=1.0, refinements=0, statistics="own", start="first", timestep="upper")
    params = parameters(
        both,
        contents="adapted",
        inversion=inversion,
        guidance=Guidance(weight=1.0),
        spacing="leading",
        steps_offset=1,
    )
    assert_close(both.ours(params, images), both.stock(ddim, 1.0, latents=latents))


def test_timesteps_are_those_of_the_authors_schedulers(both: Both) -> None:
    """25 steps: 961, 921, … 1 by SDXL's schedulers, and 999, 959, … 39 by trailing spacing."""
    named: dict[str, Callable[[], Levels]] = {
        name: lambda name=name, offset=offset: Levels.of(
            both.model,
            parameters(both, steps=25, spacing=name, steps_offset=offset),
            parameters(both).inversion,
        )
        for name, offset in (("leading", 1), ("trailing", 0))
    }
    assert named["leading"]().timesteps == [0, *range(1, 962, 40)]
    assert named["trailing"]().timesteps == [0, *range(39, 1000, 40)]


@pytest.mark.parametrize(
    ("steps", "spacing", "offset"), [(1000, "leading", 1), (1001, "leading", 0), (2000, "trailing", 0)]
)
def test_timesteps_that_the_model_lacks_are_refused(
    both: Both, steps: int, spacing: str, offset: int
) -> None:
    params = parameters(both, steps=steps, spacing=spacing, steps_offset=offset)
    with pytest.raises(UserError, match=rf"spacing: {spacing}.*steps: {steps}.*0 to 999"):
        Levels.of(both.model, params, params.inversion)
