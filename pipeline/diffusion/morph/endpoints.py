"""The two ends of a morph, X and Y, and what an adapter learns from them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.config import AdapterSpec, FinetuneSettings, MorphSettings
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.data import Batch, TuningData
from pipeline.diffusion.prompt_embeddings import concatenate


@dataclass(frozen=True)
class End:
    """One end: images uint8 [n, H, W, 3] of it, and the prompt that they are tuned and made with.

    One image is what the morph begins or ends with; several are a style or a subject, which it begins or ends in.
    """

    images: np.ndarray
    prompt: str


def adapter_spec(settings: MorphSettings) -> AdapterSpec:
    """The Terra of a morph; of LoRAs, the rank and the layers."""
    rank = settings.rank
    return AdapterSpec(rank=rank, alpha=rank, layers=settings.layers, include=settings.include)


def tuning(settings: MorphSettings) -> FinetuneSettings:
    """The tuning of a morph, as stage one is told."""
    return FinetuneSettings(
        steps=settings.tune_steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        middle_lr_factor=settings.middle_lr_factor,
        seed=settings.seed,
    )


class EndsData(TuningData):
    """X at t = 0 and Y at t = 1, each with its own prompt; both parts of a batch share noise and timesteps."""

    parts = ("x", "y")

    def __init__(self, model: BaseModel, settings: MorphSettings, ends: tuple[End, End]) -> None:
        self.settings, self.timesteps = tuning(settings), len(model.alpha_bar)
        self.shown = [end.prompt for end in ends]
        self.prompts = model.embed(self.shown)
        self.latents = [model.encode(end.images) for end in ends]

    def batch(self, step: int) -> Batch:
        """The batch of `step`, of X first."""
        n, generator = self.settings.batch_size, self._generator(step)
        chosen = [torch.randint(len(latents), (n,), generator=generator) for latents in self.latents]
        noise, timesteps = self._noise(self.latents[0], generator)
        return Batch(
            torch.cat([latents[of] for latents, of in zip(self.latents, chosen, strict=True)]),
            concatenate([self.prompts[[place]].expand(n) for place in (0, 1)]),
            noise.repeat(2, 1, 1, 1),
            timesteps.repeat(2),
            torch.cat([torch.zeros(n), torch.ones(n)]),
        )

    def conditions_to_show(self) -> Tensor:
        """Both ends: [2, 1]."""
        return torch.tensor([[0.0], [1.0]])
