"""Training data from domains: a source and a target at t = 0 and 1, or several sources at their own t."""

from pathlib import Path

import torch
from torch import Tensor

from pipeline.config import DomainsParams, PairParams
from pipeline.data.image_sets import load_labelled, load_unlabelled
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.data import Batch, TuningData
from pipeline.diffusion.latent_cache import cached_latents
from pipeline.diffusion.prompt_embeddings import concatenate
from pipeline.diffusion.t_predictor.times import times_of
from pipeline.planning.kinds.finetune import FinetuneParams


class PairData(TuningData):
    """uda: the source at t = 0 with class prompts, the unlabelled target at t = 1 with one prompt for all."""

    parts = ("source", "target")

    def __init__(
        self, model: BaseModel, params: FinetuneParams, pair: PairParams, data: Path, folder: Path
    ) -> None:
        super().__init__(model, params, pair.words, folder)
        source = load_labelled(data, pair.source, "train")
        target = load_unlabelled(data, pair.target, "train")
        self.source = cached_latents(model, source.images, folder, "source")
        self.target = cached_latents(model, target.images, folder, "target")
        self.labels = torch.from_numpy(source.labels)

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`, the source's part first."""
        n, generator = self.settings.batch_size, self._generator(step)
        source_rows = torch.randint(len(self.source), (n,), generator=generator)
        target_rows = torch.randint(len(self.target), (n,), generator=generator)
        noise, timesteps = self._noise(self.source, generator)
        prompts = self._prompted(self.labels[source_rows], generator)
        return Batch(
            torch.cat([self.source[source_rows], self.target[target_rows]]),
            concatenate([prompts, self.empty.expand(n)]),
            noise.repeat(2, 1, 1, 1),
            timesteps.repeat(2),
            torch.cat([torch.zeros(n), torch.ones(n)]),
        )

    def conditions_to_show(self) -> Tensor:
        """Return the times that the settings name, [rows, 1]."""
        return torch.tensor(self.settings.validation.times)[:, None]


class DomainsData(TuningData):
    """dg: images of all source domains with their class prompts, each at the t that a t-predictor gave it."""

    def __init__(
        self,
        model: BaseModel,
        params: FinetuneParams,
        domains: DomainsParams,
        data: Path,
        times: Path,
        folder: Path,
    ) -> None:
        super().__init__(model, params, domains.words, folder)
        self.parts = tuple(domains.sources)
        images = [load_labelled(data, name, "train") for name in self.parts]
        self.latents = [
            cached_latents(model, domain.images, folder, f"domain{i}") for i, domain in enumerate(images)
        ]
        self.labels = [torch.from_numpy(domain.labels) for domain in images]
        self.times = [
            torch.from_numpy(times_of(times, name, "train", domain.names).copy())
            for name, domain in zip(self.parts, images, strict=True)
        ]

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`, domain after domain."""
        n, generator = self.settings.batch_size, self._generator(step)
        noise, timesteps = self._noise(self.latents[0], generator)
        rows = [torch.randint(len(latents), (n,), generator=generator) for latents in self.latents]
        labels = torch.cat([own[chosen] for own, chosen in zip(self.labels, rows, strict=True)])
        return Batch(
            torch.cat([own[chosen] for own, chosen in zip(self.latents, rows, strict=True)]),
            self._prompted(labels, generator),
            noise.repeat(len(self.parts), 1, 1, 1),
            timesteps.repeat(len(self.parts)),
            torch.cat([own[chosen] for own, chosen in zip(self.times, rows, strict=True)]),
        )

    def conditions_to_show(self) -> Tensor:
        """Return the mean t of every source domain, [rows, t_dim]."""
        return torch.stack([own.reshape(len(own), -1).mean(0) for own in self.times])
