"""The images of stage one as latents, and the batch of each step: images with their prompts and conditions.

A batch has equal parts, one of each domain. All parts share their noise and timesteps, so that they differ in
the domain alone (Zhuang et al. 2024, section 4.1). A batch is a function of the seed and the step:
fine-tuning can resume at any step.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
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
    """The training data of one step.

    Attributes:
        clean: Images as latents [n, c, h, w].
        prompts: Their prompt embeddings.
        noise: [n, c, h, w].
        timesteps: [n], from 0.
        condition: Terra's t, [n] or [n, t_dim], or LoRWeB's embedded analogies, [n, width].
    """

    clean: Tensor
    prompts: PromptEmbeddings
    noise: Tensor
    timesteps: Tensor
    condition: Tensor

    def share(self, parts: int, index: int, shares: int) -> "Batch":
        """Return one of several equal shares: of each part, rows index, index + shares and so on.

        The batch is on the CPU.
        """
        rows = torch.arange(len(self.clean)).reshape(parts, -1)[:, index::shares].flatten()
        return Batch(
            self.clean[rows], self.prompts[rows], self.noise[rows], self.timesteps[rows], self.condition[rows]
        )


class TuningData(ABC):
    """Latents and prompt embeddings, computed once and kept in a folder.

    Attributes:
        parts: Names of the equal parts of a batch.
        class_prompts: The prompt of each class.
        prompts: Their embeddings.
        empty: Embedding of the prompt that names no class.
        timesteps: Number of timesteps of the noise schedule.
    """

    parts: tuple[str, ...]

    def __init__(self, model: BaseModel, params: FinetuneParams, words: list[str], folder: Path) -> None:
        self.settings = params.settings
        self.class_prompts = [prompt(params.settings.source_prompt, word) for word in words]
        self.prompts = cached_prompts(model, self.class_prompts, folder, "prompts")
        self.empty = cached_prompts(model, [params.settings.target_prompt], folder, "empty")
        self.timesteps = len(model.alpha_bar)

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """Return the batch of `step`."""

    @abstractmethod
    def conditions_to_show(self) -> Tensor:
        """Return the conditions of validation images: [rows, t_dim], or of a LoRWeB [rows, width]."""

    def names_of_conditions(self) -> list[object]:
        """Return the names of these conditions, for the description of validation images."""
        return self.conditions_to_show().tolist()

    def _generator(self, step: int, what: str = "finetune") -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.settings.seed, what, step))

    def _noise(self, shape: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the noise and the timesteps of one part of a batch, the latter as `early_bias` says.

        Args:
            shape: Of one latent, [c, h, w].
            generator: Of the step.
        """
        n = self.settings.batch_size
        noise = torch.randn(n, *shape, generator=generator)
        level = torch.rand(n, generator=generator) ** (1 / self.settings.early_bias)
        return noise, (level * self.timesteps).long().clamp(max=self.timesteps - 1)

    def _prompted(self, labels: Tensor, generator: torch.Generator) -> PromptEmbeddings:
        """Return the prompts of classes, a share `settings.unconditional` of them without the class."""
        dropped = torch.rand(len(labels), generator=generator) < self.settings.unconditional
        return where(dropped, self.empty, self.prompts[labels])
