"""DDIM in both directions, and how predictions are guided.

A walk goes through levels 0 (clean) to n (noise). Level k stands at the training timestep round(T k / n) - 1, so
that level n is the last timestep ("trailing" spacing, Lin et al. 2024) and level 0 has no noise at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.config import Guidance
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings, concatenate, denoise

Predict = Callable[[Tensor, int], Tensor]
"""(noisy latents [n, c, h, w], timestep) -> the denoiser's output, guided."""


@dataclass(frozen=True)
class Levels:
    """The levels of one walk: timesteps and alpha_bar, index 0 the clean one."""

    timesteps: list[int]
    alpha_bar: Tensor

    @classmethod
    def make(cls, model: BaseModel, steps: int, depth: float = 1.0) -> "Levels":
        """`steps` equal steps up to `depth` (in (0, 1]) of the way to pure noise."""
        total = len(model.alpha_bar)
        timesteps = [round(total * depth * k / steps) - 1 for k in range(steps + 1)]
        clean = torch.ones(1)
        return cls([max(t, 0) for t in timesteps], torch.cat([clean, model.alpha_bar[timesteps[1:]].cpu()]))


def classifier_free(
    denoiser: nn.Module, prompt: PromptEmbeddings, empty: PromptEmbeddings, weight: float
) -> Predict:
    """e(empty) + weight (e(prompt) - e(empty)) (Ho and Salimans, 2022). `prompt`, `empty`: of n samples."""

    def predict(latents: Tensor, timestep: int) -> Tensor:
        if weight == 1:
            return denoise(denoiser, latents, timestep, prompt)
        both = denoise(denoiser, latents.repeat(2, 1, 1, 1), timestep, concatenate([empty, prompt]))
        without, with_prompt = both.chunk(2)
        return without + weight * (with_prompt - without)

    return predict


def content_style(
    style: nn.Module, content: nn.Module, prompt: PromptEmbeddings, empty: PromptEmbeddings, weight: float
) -> Predict:
    """e_style(empty) + weight (e_content(prompt) - e_content(empty)).

    The target's look from the denoiser at t = 1, where no class prompt was ever trained; the class from another that
    knows the prompts: the base model, or one a share of the way from it to t = 1 (`Guidance.content_scale`).
    """

    def predict(latents: Tensor, timestep: int) -> Tensor:
        look = denoise(style, latents, timestep, empty)
        both = denoise(content, latents.repeat(2, 1, 1, 1), timestep, concatenate([empty, prompt]))
        without, with_prompt = both.chunk(2)
        return look + weight * (with_prompt - without)

    return predict


def guided(
    guidance: Guidance,
    at_target: nn.Module,
    content: nn.Module,
    prompt: PromptEmbeddings,
    empty: PromptEmbeddings,
) -> Predict:
    """The prediction that `guidance` asks for: of a content that is the target's own, classifier-free guidance."""
    if content is at_target:
        return classifier_free(at_target, prompt, empty, guidance.weight)
    return content_style(at_target, content, prompt, empty, guidance.weight)


@torch.inference_mode()
def sample(model: BaseModel, predict: Predict, latents: Tensor, levels: Levels) -> Tensor:
    """Walk from the noisiest of `levels` to the clean one by DDIM without added noise (Song et al. 2021, eq. 12)."""
    for k in range(len(levels.timesteps) - 1, 0, -1):
        here, there = levels.alpha_bar[k], levels.alpha_bar[k - 1]
        clean, noise = model.split(predict(latents, levels.timesteps[k]), latents, here)
        latents = there.sqrt() * clean + (1 - there).sqrt() * noise
    return latents


@torch.inference_mode()
def invert(
    model: BaseModel, predict: Predict, latents: Tensor, levels: Levels, refinements: int = 0
) -> Tensor:
    """Walk from clean latents to the noisiest of `levels`, so that `sample` with the same `predict` leads back.

    A step up wants the noise predicted at its upper end, which is not known yet: the prediction at the lower end
    stands in for it, and each refinement repeats the step with the upper end just found (a fixed-point iteration).
    """
    for k in range(1, len(levels.timesteps)):
        here, there, lower = levels.alpha_bar[k - 1], levels.alpha_bar[k], latents
        _, noise = model.split(predict(lower, levels.timesteps[k - 1]), lower, here)
        for refinement in range(refinements + 1):
            if refinement:
                _, noise = model.split(predict(latents, levels.timesteps[k]), latents, there)
            clean = (lower - (1 - here).sqrt() * noise) / here.sqrt()
            latents = there.sqrt() * clean + (1 - there).sqrt() * noise
    return latents


def adain(latents: Tensor, like: Tensor) -> Tensor:
    """`latents` with the mean and deviation that each channel of `like` has (Huang and Belongie, 2017).

    Both [n, c, h, w]. Inverted latents of images with one flat background are far from Gaussian in just these two
    numbers, which decide the colours; given those of Gaussian noise, the target's own backgrounds can come up.
    """
    dimensions = (2, 3)
    shape = (latents - latents.mean(dimensions, keepdim=True)) / latents.std(dimensions, keepdim=True)
    return shape * like.std(dimensions, keepdim=True) + like.mean(dimensions, keepdim=True)
