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
from pipeline.diffusion.conditions import Conditions, joined, where
from pipeline.diffusion.encoding import kept_latents, kept_prompts
from pipeline.diffusion.t_predictor.times import times_of
from pipeline.seeds import derive


@dataclass(frozen=True)
class Batch:
    """What one step learns from: images [n, c, h, w] as latents, their prompts, noise, timesteps and conditions.

    timesteps: [n], from 0. condition: t, [n] or [n, t_dim]; of a LoRWeB embedded analogies, [n, width].
    """

    clean: Tensor
    prompts: Conditions
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
        self.prompts = kept_prompts(model, self.shown, folder, "prompts")
        self.empty = kept_prompts(model, [params.settings.target_prompt], folder, "empty")
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

    def _prompted(self, labels: Tensor, generator: torch.Generator) -> Conditions:
        """The prompts of classes, the share settings.unconditional of them replaced by the one that names no class."""
        dropped = torch.rand(len(labels), generator=generator) < self.settings.unconditional
        return where(dropped, self.empty, self.prompts[labels])


class PairData(TuningData):
    """Under uda: the source at t = 0 with class prompts, the target at t = 1 with one for all, for it has no labels."""

    parts = ("source", "target")

    def __init__(self, model: BaseModel, params: FinetuneParams, data: Path, folder: Path) -> None:
        super().__init__(model, params, params.pair.words, folder)
        source = load_labelled(data, params.pair.source, "train")
        target = load_unlabelled(data, params.pair.target, "train")
        self.source = kept_latents(model, source.images, folder, "source")
        self.target = kept_latents(model, target.images, folder, "target")
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
            joined([prompts, self.empty.expand(n)]),
            noise.repeat(2, 1, 1, 1),
            timesteps.repeat(2),
            torch.cat([torch.zeros(n), torch.ones(n)]),
        )

    def conditions_to_show(self) -> Tensor:
        """Those that the settings name: [n, 1]."""
        return torch.tensor(self.settings.validation.times)[:, None]


class DomainsData(TuningData):
    """Under dg: images of all source domains with their class prompts, each at the t that a t-predictor gave it."""

    def __init__(
        self, model: BaseModel, params: FinetuneParams, data: Path, times: Path, folder: Path
    ) -> None:
        super().__init__(model, params, params.domains.words, folder)
        self.parts = tuple(params.domains.sources)
        domains = [load_labelled(data, name, "train") for name in self.parts]
        self.latents = [
            kept_latents(model, domain.images, folder, f"domain{i}") for i, domain in enumerate(domains)
        ]
        self.labels = [torch.from_numpy(domain.labels) for domain in domains]
        self.times = [
            torch.from_numpy(times_of(times, name, "train", domain.names).copy())
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

    def conditions_to_show(self) -> Tensor:
        """The mean t of every source domain: [n, t_dim]."""
        return torch.stack([own.reshape(len(own), -1).mean(0) for own in self.times])


def tuning_data(
    model: BaseModel, params: FinetuneParams, inputs: dict[str, Path], folder: Path
) -> TuningData:
    """The images that `params` name, encoded once into `folder`."""
    if params.analogies is not None:
        from pipeline.diffusion.analogies import AnalogyData  # which is a TuningData itself

        return AnalogyData(model, params, inputs["data"], folder)
    if params.pair is not None:
        return PairData(model, params, inputs["data"], folder)
    return DomainsData(model, params, inputs["data"], inputs["times"], folder)
