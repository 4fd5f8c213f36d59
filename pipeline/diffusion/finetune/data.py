"""The images of stage one, as latents, and the batch of any step: which image stands at which t with which prompt.

A batch has equal parts, one of each domain, and all parts share their noise and timesteps, so that what differs
between them is the domain alone (Zhuang et al. 2024, section 4.1). It is a function of the seed and the step alone:
resuming needs no state of a generator.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.config import prompt
from pipeline.core.seeds import derive
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.latent_cache import cached_prompts
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings, where
from pipeline.planning.kinds.finetune import FinetuneParams


@dataclass(frozen=True)
class Batch:
    """What one step learns from: images [n, c, h, w] as latents, their prompts, noise, timesteps and conditions.

    timesteps: [n], from 0. condition: t, [n] or [n, t_dim]; of a LoRWeB embedded analogies, [n, width].
    """

    clean: Tensor
    prompts: PromptEmbeddings
    noise: Tensor
    timesteps: Tensor
    condition: Tensor

    def share(self, parts: int, place: int, of: int) -> "Batch":
        """One of `of` equal shares: of each of the `parts`, every row at `place`, `place` + `of`, …"""
        rows = torch.arange(len(self.clean)).reshape(parts, -1)[:, place::of].flatten()
        return Batch(
            self.clean[rows], self.prompts[rows], self.noise[rows], self.timesteps[rows], self.condition[rows]
        )

    def to(self, device: torch.device) -> "Batch":
        """On another device, but for the timesteps, by which the noise schedule is looked up on the CPU."""
        clean, noise = self.clean.to(device), self.noise.to(device)
        return Batch(clean, self.prompts.to(device), noise, self.timesteps, self.condition.to(device))


class TuningData(ABC):
    """Latents and prompt embeddings, computed once and kept in `folder`."""

    parts: tuple[str, ...]
    """What each of the equal parts of a batch holds."""

    def __init__(self, model: BaseModel, params: FinetuneParams, words: list[str], folder: Path) -> None:
        self.settings = params.settings
        self.shown = [prompt(params.settings.source_prompt, word) for word in words]
        self.prompts = cached_prompts(model, self.shown, folder, "prompts")
        self.empty = cached_prompts(model, [params.settings.target_prompt], folder, "empty")
        self.timesteps = len(model.alpha_bar)

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The batch of `step`."""

    @abstractmethod
    def conditions_to_show(self) -> Tensor:
        """Those of validation images: [n, t_dim], of a LoRWeB [n, width]."""

    def names_of_conditions(self) -> list[object]:
        """What a description of validation images calls each of them: t by its numbers."""
        return self.conditions_to_show().tolist()

    def _generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.settings.seed, "finetune", step))

    def _noise(self, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise for a part of a batch and its timesteps, which are drawn as settings.early_bias says."""
        n = self.settings.batch_size
        noise = torch.randn(n, *latents.shape[1:], generator=generator)
        level = torch.rand(n, generator=generator) ** (1 / self.settings.early_bias)
        return noise, (level * self.timesteps).long().clamp(max=self.timesteps - 1)

    def _prompted(self, labels: Tensor, generator: torch.Generator) -> PromptEmbeddings:
        """The prompts of classes, the share settings.unconditional of them replaced by the one that names no class."""
        dropped = torch.rand(len(labels), generator=generator) < self.settings.unconditional
        return where(dropped, self.empty, self.prompts[labels])
