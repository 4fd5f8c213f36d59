"""Training data from domains: a source and a target at t = 0 and 1, or several sources at their own t."""

from itertools import accumulate, pairwise
from pathlib import Path

import torch
from torch import Tensor

from pipeline.config import DomainsParams, PairParams
from pipeline.data.image_sets import load_labelled, load_unlabelled
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.data import Batch, TuningData
from pipeline.diffusion.finetune.image_latents import image_latents
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
        self.source = image_latents(model, self.settings, source.images, folder, "source")
        self.target = image_latents(model, self.settings, target.images, folder, "target")
        self.labels = torch.from_numpy(source.labels)

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`, the source's part first."""
        n, generator = self.settings.batch_size, self._generator(step)
        source_rows = torch.randint(len(self.source), (n,), generator=generator)
        target_rows = torch.randint(len(self.target), (n,), generator=generator)
        noise, timesteps = self._noise(self.source.shape, generator)
        views = self._generator(step, "views")
        prompts = self._prompted(self.labels[source_rows], generator)
        return Batch(
            torch.cat([self.source.take(source_rows, views), self.target.take(target_rows, views)]),
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
        images = [load_labelled(data, name, "train") for name in domains.sources]
        self.parts = ("pooled",) if self.settings.pooled else tuple(domains.sources)
        self.latents = [
            image_latents(model, self.settings, domain.images, folder, f"domain{i}")
            for i, domain in enumerate(images)
        ]
        self.labels = [torch.from_numpy(domain.labels) for domain in images]
        self.times = [
            torch.from_numpy(times_of(times, name, "train", domain.names).copy())
            for name, domain in zip(domains.sources, images, strict=True)
        ]

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`, domain after domain.

        A pooled batch has fewer images of smaller domains, and noise for each of its images.
        """
        generator, views = self._generator(step), self._generator(step, "views")
        noise, timesteps = self._noise(self.latents[0].shape, generator)
        rows = self._draw(generator)
        labels = torch.cat([own[chosen] for own, chosen in zip(self.labels, rows, strict=True)])
        drawn = [own.take(chosen, views) for own, chosen in zip(self.latents, rows, strict=True)]
        return Batch(
            torch.cat(drawn),
            self._prompted(labels, generator),
            noise.repeat(len(self.parts), 1, 1, 1),
            timesteps.repeat(len(self.parts)),
            torch.cat([own[chosen] for own, chosen in zip(self.times, rows, strict=True)]),
        )

    def _draw(self, generator: torch.Generator) -> list[Tensor]:
        """Draw the rows of the images of each domain: as many of each, or of all domains together."""
        n, sizes = self.settings.batch_size, [len(latents) for latents in self.latents]
        if not self.settings.pooled:
            return [torch.randint(size, (n,), generator=generator) for size in sizes]
        drawn, starts = torch.randint(sum(sizes), (n,), generator=generator), accumulate(sizes, initial=0)
        return [drawn[(drawn >= start) & (drawn < stop)] - start for start, stop in pairwise(starts)]

    def conditions_to_show(self) -> Tensor:
        """Return the mean t of every source domain, [rows, t_dim]."""
        return torch.stack([own.reshape(len(own), -1).mean(0) for own in self.times])
