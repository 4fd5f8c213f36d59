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

from pipeline.config import FinetuneParams, prompt
from pipeline.data.domains import load_labelled, load_unlabelled
from pipeline.diffusion.base import BaseModel
from pipeline.diffusion.t_predictor.times import times_of
from pipeline.seeds import derive


@dataclass(frozen=True)
class Batch:
    """What one step learns from: images [n, c, h, w] as latents, their prompts, noise, timesteps and t.

    prompts: [n, length, width]. timesteps: [n], from 0. t: [n] or [n, t_dim].
    """

    clean: Tensor
    prompts: Tensor
    noise: Tensor
    timesteps: Tensor
    t: Tensor


class TuningData(ABC):
    """Latents and prompt embeddings, computed once."""

    parts: tuple[str, ...]
    """What each of the equal parts of a batch holds."""

    def __init__(self, model: BaseModel, params: FinetuneParams, words: list[str]) -> None:
        self.settings = params.settings
        self.prompts = model.embed([prompt(params.settings.source_prompt, word) for word in words])
        self.empty = model.embed([params.settings.target_prompt])[0]
        self.timesteps = len(model.alpha_bar)

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The batch of `step`."""

    def _generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.settings.seed, "finetune", step))

    def _noise(self, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise for a part of a batch and its timesteps, which are drawn as settings.early_bias says."""
        n = self.settings.batch_size
        noise = torch.randn(n, *latents.shape[1:], generator=generator)
        level = torch.rand(n, generator=generator) ** (1 / self.settings.early_bias)
        return noise, (level * self.timesteps).long().clamp(max=self.timesteps - 1)

    def _prompted(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The prompts of classes, the share settings.unconditional of them replaced by the one that names no class."""
        dropped = torch.rand(len(labels), generator=generator) < self.settings.unconditional
        return torch.where(dropped[:, None, None], self.empty, self.prompts[labels])


class PairData(TuningData):
    """Under uda: the source at t = 0 with class prompts, the target at t = 1 with one for all, for it has no labels."""

    parts = ("source", "target")

    def __init__(self, model: BaseModel, params: FinetuneParams, data: Path) -> None:
        super().__init__(model, params, params.pair.words)
        source = load_labelled(data, params.pair.source, "train")
        target = load_unlabelled(data, params.pair.target, "train")
        self.source, self.target = model.encode(source.images), model.encode(target.images)
        self.labels = torch.from_numpy(source.labels)

    def batch(self, step: int) -> Batch:
        """The batch of `step`, of the source first."""
        n, generator = self.settings.batch_size, self._generator(step)
        of_source = torch.randint(len(self.source), (n,), generator=generator)
        of_target = torch.randint(len(self.target), (n,), generator=generator)
        noise, timesteps = self._noise(self.source, generator)
        prompts = self._prompted(self.labels[of_source], generator)
        return Batch(
            torch.cat([self.source[of_source], self.target[of_target]]),
            torch.cat([prompts, self.empty.expand(n, -1, -1)]),
            noise.repeat(2, 1, 1, 1),
            timesteps.repeat(2),
            torch.cat([torch.zeros(n), torch.ones(n)]),
        )


class DomainsData(TuningData):
    """Under dg: images of all source domains with their class prompts, each at the t that a t-predictor gave it."""

    def __init__(self, model: BaseModel, params: FinetuneParams, data: Path, times: Path) -> None:
        super().__init__(model, params, params.domains.words)
        self.parts = tuple(params.domains.sources)
        domains = [load_labelled(data, name, "train") for name in self.parts]
        self.latents = [model.encode(domain.images) for domain in domains]
        self.labels = [torch.from_numpy(domain.labels) for domain in domains]
        self.times = [
            torch.from_numpy(times_of(times, name, "train", domain.names))
            for name, domain in zip(self.parts, domains, strict=True)
        ]

    def batch(self, step: int) -> Batch:
        """The batch of `step`, domain after domain."""
        n, generator = self.settings.batch_size, self._generator(step)
        noise, timesteps = self._noise(self.latents[0], generator)
        chosen = [torch.randint(len(latents), (n,), generator=generator) for latents in self.latents]
        labels = torch.cat([own[of] for own, of in zip(self.labels, chosen, strict=True)])
        return Batch(
            torch.cat([own[of] for own, of in zip(self.latents, chosen, strict=True)]),
            self._prompted(labels, generator),
            noise.repeat(len(self.parts), 1, 1, 1),
            timesteps.repeat(len(self.parts)),
            torch.cat([own[of] for own, of in zip(self.times, chosen, strict=True)]),
        )


def tuning_data(model: BaseModel, params: FinetuneParams, inputs: dict[str, Path]) -> TuningData:
    """The images that `params` name."""
    if params.pair is not None:
        return PairData(model, params, inputs["data"])
    return DomainsData(model, params, inputs["data"], inputs["times"])
