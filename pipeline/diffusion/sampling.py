"""Sample by DDIM, invert images by DDIM, and guide the denoiser's predictions.

A trajectory has noise levels 0 (clean) to n. By default level k is the training timestep round(T k / n) - 1,
so that level n is the last timestep ("trailing" spacing, Lin et al. 2024), and level 0 has no noise at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pipeline.config import Guidance, InversionTimestep, Spacing
from pipeline.core.errors import UserError
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.prompt_embeddings import Denoiser, PromptEmbeddings, concatenate, denoise
from pipeline.planning.kinds.sampling import InversionSettings, SamplingParams

Predict = Callable[[Tensor, int], Tensor]
"""A function of noisy latents [n, c, h, w] and a timestep that returns the denoiser's output, guided."""


@dataclass(frozen=True)
class Levels:
    """The noise levels of a trajectory.

    Attributes:
        timesteps: The training timestep of each level, from the clean one on.
        alpha_bar: The cumulative product of the noise schedule at each level, [n + 1], on the CPU.
    """

    timesteps: list[int]
    alpha_bar: Tensor

    @classmethod
    def make(cls, model: BaseModel, steps: int, depth: float = 1.0) -> "Levels":
        """Divide a trajectory into equal steps.

        Args:
            model: Its noise schedule is used.
            steps: The number of steps.
            depth: How far the noisiest level is on the way to pure noise, in (0, 1].
        """
        timesteps = spaced_timesteps("trailing", len(model.alpha_bar) * depth, steps, offset=0)
        return cls._from(model, timesteps, torch.ones(1))

    @classmethod
    def of(cls, model: BaseModel, params: SamplingParams, inversion: InversionSettings) -> "Levels":
        """Return the noise levels that the parameters of a job of stage two describe.

        Raises:
            UserError: The model's noise schedule has too few timesteps.
        """
        total = len(model.alpha_bar)
        timesteps = spaced_timesteps(
            params.spacing, total * inversion.depth, params.steps, params.steps_offset
        )
        ascending = [-1, *timesteps, total]
        if any(below >= above for below, above in pairwise(ascending)):
            raise UserError(
                f"generate: spacing: {params.spacing} with steps: {params.steps} and steps_offset: "
                f"{params.steps_offset} does not give distinct timesteps from 0 to {total - 1}, those of "
                f"base_model {params.base_model.name}; lower steps or steps_offset"
            )
        lowest = torch.ones(1) if inversion.start == "clean" else model.alpha_bar[:1].cpu()
        return cls._from(model, timesteps, lowest)

    @classmethod
    def _from(cls, model: BaseModel, timesteps: list[int], lowest: Tensor) -> "Levels":
        """Put a lowest level, whose alpha_bar is given, [1], below the levels at `timesteps`."""
        return cls([0, *timesteps], torch.cat([lowest, model.alpha_bar[timesteps].cpu()]))


def spaced_timesteps(spacing: Spacing, total: float, steps: int, offset: int) -> list[int]:
    """Return the training timesteps of the levels above the clean one, from the least noisy on.

    They are those of diffusers' schedulers (Lin et al. 2024, table 2).

    Args:
        spacing: The rule.
        total: Number of training timesteps up to the noisiest level.
        steps: Number of steps n.
        offset: Added to every timestep of `leading`.
    """
    if spacing == "trailing":
        return [round(total * k / steps) - 1 for k in range(1, steps + 1)]
    if spacing == "leading":
        return [k * int(total // steps) + offset for k in range(steps)]
    return [round((total - 1) * k / (steps - 1)) for k in range(steps)]


def start_noise(model: BaseModel, seeds: Sequence[int]) -> Tensor:
    """Draw Gaussian latents [n, c, h, w], each from its own seed.

    An image therefore does not depend on its batch. The latents are drawn on the CPU, so that a seed gives
    the same noise on every device.
    """
    drawn = [torch.randn(model.latent_shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(drawn).to(model.device)


def negative_embeddings(model: BaseModel, params: SamplingParams) -> PromptEmbeddings:
    """Return the prompt embeddings of one sample that guidance leads away from.

    Zeros are those of SDXL's pipeline in diffusers, whose configuration has `force_zeros_for_empty_prompt`;
    the sizes that an SDXL is told stay.
    """
    if params.negative == "zeros":
        return model.embed([""]).without_text()
    return model.embed([params.target_prompt if params.negative == "target_prompt" else ""])


def classifier_free(
    denoiser: Denoiser, prompt: PromptEmbeddings, empty: PromptEmbeddings, weight: float
) -> Predict:
    """Guide by e(empty) + weight (e(prompt) - e(empty)) (Ho and Salimans 2022).

    The weight 1 needs one pass of the denoiser, any other weight two.

    Args:
        denoiser: The network e.
        prompt: The prompts of n samples.
        empty: The prompts of the same n samples without a class.
        weight: The guidance scale.
    """

    def predict(latents: Tensor, timestep: int) -> Tensor:
        if weight == 1:
            return denoise(denoiser, latents, timestep, prompt)
        both = denoise(denoiser, latents.repeat(2, 1, 1, 1), timestep, concatenate([empty, prompt]))
        without, with_prompt = both.chunk(2)
        return without + weight * (with_prompt - without)

    return predict


def content_style(
    style: Denoiser, content: Denoiser, prompt: PromptEmbeddings, empty: PromptEmbeddings, weight: float
) -> Predict:
    """Guide by e_style(empty) + weight (e_content(prompt) - e_content(empty)).

    Args:
        style: The denoiser at t = 1, which knows the target's style but was never trained with a class
            prompt.
        content: A denoiser that knows class prompts: the base model, or one with a share of the adapter's
            update (`Guidance.content_scale`).
        prompt: The prompts of n samples.
        empty: The prompts of the same n samples without a class.
        weight: The guidance scale.
    """
    both_prompts = concatenate([empty, prompt])
    style_comes_first = True

    def predict(latents: Tensor, timestep: int) -> Tensor:
        # The order alternates, so that a network that both share changes its state once a step, not twice.
        nonlocal style_comes_first
        passes = {
            "style": lambda: denoise(style, latents, timestep, empty),
            "content": lambda: denoise(content, latents.repeat(2, 1, 1, 1), timestep, both_prompts),
        }
        order = ("style", "content") if style_comes_first else ("content", "style")
        outputs = {name: passes[name]() for name in order}
        style_comes_first = not style_comes_first
        without, with_prompt = outputs["content"].chunk(2)
        return outputs["style"] + weight * (with_prompt - without)

    return predict


def guided(
    guidance: Guidance,
    at_target: Denoiser,
    content: Denoiser,
    prompt: PromptEmbeddings,
    empty: PromptEmbeddings,
) -> Predict:
    """Guide as `guidance` says: classifier-free if `content` is `at_target`, else by `content_style`."""
    if content is at_target:
        return classifier_free(at_target, prompt, empty, guidance.weight)
    return content_style(at_target, content, prompt, empty, guidance.weight)


@torch.inference_mode()
def sample(model: BaseModel, predict: Predict, latents: Tensor, levels: Levels) -> Tensor:
    """Denoise latents from the noisiest level to the clean one by DDIM (Song et al. 2021, equation 12)."""
    for k in range(len(levels.timesteps) - 1, 0, -1):
        alpha_bar, next_alpha_bar = levels.alpha_bar[k], levels.alpha_bar[k - 1]
        clean, noise = model.split(predict(latents, levels.timesteps[k]), latents, alpha_bar)
        latents = next_alpha_bar.sqrt() * clean + (1 - next_alpha_bar).sqrt() * noise
    return latents


@torch.inference_mode()
def invert(
    model: BaseModel,
    predict: Predict,
    latents: Tensor,
    levels: Levels,
    refinements: int = 0,
    timestep: InversionTimestep = "lower",
) -> Tensor:
    """Take clean latents to the noisiest level, so that `sample` with the same `predict` reconstructs them.

    A step upwards needs the noise that is predicted at its upper end, which is not known yet. The prediction
    at its lower end stands in for it.

    Args:
        model: The base model.
        predict: The guided prediction.
        latents: Clean latents, [n, c, h, w].
        levels: The noise levels.
        refinements: How often each step is repeated with the upper end that it found last, a fixed-point
            iteration.
        timestep: Whether the prediction at the lower end is made at the timestep of the `lower` or of the
            `upper` end.
    """
    at = 0 if timestep == "upper" else -1
    for k in range(1, len(levels.timesteps)):
        alpha_bar, next_alpha_bar, lower = levels.alpha_bar[k - 1], levels.alpha_bar[k], latents
        _, noise = model.split(predict(lower, levels.timesteps[k + at]), lower, alpha_bar)
        for refinement in range(refinements + 1):
            if refinement:
                _, noise = model.split(predict(latents, levels.timesteps[k]), latents, next_alpha_bar)
            clean = (lower - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
            latents = next_alpha_bar.sqrt() * clean + (1 - next_alpha_bar).sqrt() * noise
    return latents


def adain(latents: Tensor, like: Tensor) -> Tensor:
    """Give each channel of `latents` the mean and deviation of `like` (AdaIN, Huang and Belongie 2017).

    Inverted latents of images with a plain background are far from Gaussian in these two statistics, which
    decide the colours. With the statistics of Gaussian noise, backgrounds of the target's style can appear.

    Args:
        latents: [n, c, h, w].
        like: [n, c, h, w].
    """
    dimensions = (2, 3)
    shape = (latents - latents.mean(dimensions, keepdim=True)) / latents.std(dimensions, keepdim=True)
    return shape * like.std(dimensions, keepdim=True) + like.mean(dimensions, keepdim=True)
