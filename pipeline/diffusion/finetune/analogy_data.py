"""Training data of a LoRWeB: images of two domains under analogies a : a' :: b : b' between them.

a and b are of the source, a' and b' of the target. In the authors' data b' is known. Under uda it is not: no
image of the target is known to be the counterpart of b, and no target label is known. What is known is the
domain of every image. The objective is therefore: given an analogy from source to target, denoise an image b'
of the target; given an analogy a : a :: b from source to source, denoise b itself. The mix then learns what
an analogy leads to, as Terra learns it of t. How a' and b' are drawn is a setting (`Pairing` in
pipeline/config/analogies.py).

With `context: inversion`, b enters b' as it does with Terra, by inversion under the analogy from source to
source. With `context: grid`, the authors' way, b' is the last quarter of a grid with a, a' and b
(pipeline/diffusion/generate/in_context.py).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.config import AnalogySpec, PairParams
from pipeline.core.seeds import derive
from pipeline.data.image_sets import load_labelled, load_unlabelled
from pipeline.diffusion.adapters.lorweb import ImageEncoder, analogy_spec, load_encoder
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.analogies import (
    EmbeddedImages,
    embed_analogies,
    embed_source,
    embed_target,
)
from pipeline.diffusion.finetune.data import Batch, TuningData
from pipeline.diffusion.generate.in_context import grid
from pipeline.diffusion.latent_cache import cached_latents
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings, concatenate
from pipeline.planning.kinds.finetune import AnalogiesParams, FinetuneParams

RENDERED_GROUPS = 400
"""Groups of rendered pairs for each pair of domains. A group shares a background crop or pair of colours."""


@dataclass(frozen=True)
class AnalogyImages:
    """n images of one domain with the analogies that lead to them.

    Attributes:
        images: Latents [n, c, h, w]; with `context: grid` those of grids, [n, c, 2h, 2w].
        labels: Classes [n], or None if they are unknown.
        condition: Embedded analogies [n, 3 width].
    """

    images: Tensor
    labels: Tensor | None
    condition: Tensor


class PairAnalogies:
    """What is learned from one ordered pair of domains."""

    def __init__(
        self,
        model: BaseModel,
        spec: AnalogySpec,
        encoder: ImageEncoder,
        pair: PairParams,
        data: Path,
        folder: Path,
    ) -> None:
        """Load and encode both domains.

        Args:
            model: The base model.
            spec: Pairing, context and number of examples.
            encoder: Embeds the images of analogies.
            pair: Source and target.
            data: A prepare artifact.
            folder: Where latents are cached.
        """
        self.in_grid = spec.context == "grid"
        images = load_labelled(data, pair.source, "train")
        self.labels = torch.from_numpy(images.labels)
        self.source = embed_source(spec, encoder, images)
        self.latents = cached_latents(model, images.images, folder, f"source_{pair.source}")
        self._load_target(model, spec, encoder, pair, data, folder)

    def _load_target(
        self,
        model: BaseModel,
        spec: AnalogySpec,
        encoder: ImageEncoder,
        pair: PairParams,
        data: Path,
        folder: Path,
    ) -> None:
        images = load_unlabelled(data, pair.target, "train")
        self.target = embed_target(spec, encoder, images, self.source)
        self.target_latents = cached_latents(model, images.images, folder, f"target_{pair.target}")

    def draw(self, n: int, examples: int, generator: torch.Generator) -> tuple[AnalogyImages, AnalogyImages]:
        """Draw n images b of the source under a : a :: b, and n images of the target under a : a' :: b.

        Every analogy has `examples` pairs a : a'.
        """
        b = torch.randint(len(self.latents), (n,), generator=generator)
        labels = self.labels[b]
        a, other = (self.source.draw(labels, examples, generator) for _ in range(2))
        latents = self.latents
        images = latents[b]
        if self.in_grid:
            images = grid(latents[a[:, 0]], latents[other[:, 0]], latents[b], latents[b])
        to_itself = embed_analogies(self.source, a, self.source, other, b)
        return AnalogyImages(images, labels, to_itself), self._draw_target(b, a, generator)

    def _draw_target(self, b: Tensor, a: Tensor, generator: torch.Generator) -> AnalogyImages:
        """Draw a target image for each source image `b` [n] and its examples `a` [n, k]."""
        labels, known = self.labels[b], self.target.labels is not None
        a_prime = self.target.draw(labels, a.shape[1], generator)
        b_prime = self.target.draw(labels, 1, generator)[:, 0]
        own, theirs = self.latents, self.target_latents
        images = theirs[b_prime]
        if self.in_grid:
            images = grid(own[a[:, 0]], theirs[a_prime[:, 0]], own[b], images)
        condition = embed_analogies(self.source, a, self.target, a_prime, b)
        return AnalogyImages(images, labels if known else None, condition)


class RenderedAnalogies(PairAnalogies):
    """Analogies of rendered pairs (`pairing: exact`): a' and b' are a and b drawn in the target's style."""

    def _load_target(
        self,
        model: BaseModel,
        spec: AnalogySpec,
        encoder: ImageEncoder,
        pair: PairParams,
        data: Path,
        folder: Path,
    ) -> None:
        from pipeline.data.digits.paired import exact_pairs

        self.members, seed = spec.examples + 1, derive(0, "analogies", pair.source, pair.target)
        rendered = exact_pairs(pair.source, pair.target, RENDERED_GROUPS, self.members, seed)
        before, after, labels = (part.reshape(-1, *part.shape[2:]) for part in rendered)
        self.before, self.after = (EmbeddedImages(encoder.embed(images), None) for images in (before, after))
        self.rendered_labels = torch.from_numpy(labels)
        domains = f"{pair.source}_{pair.target}"
        self.rendered = cached_latents(model, after, folder, f"rendered_{domains}")
        if self.in_grid:  # elsewhere only the embeddings of a and b are used
            self.plain = cached_latents(model, before, folder, f"plain_{domains}")

    def _draw_target(self, b: Tensor, a: Tensor, generator: torch.Generator) -> AnalogyImages:
        """Draw rendered pairs, those of one analogy from one group. The source's own images do not enter."""
        n, examples = a.shape
        first = torch.randint(RENDERED_GROUPS, (n, 1), generator=generator) * self.members
        member = first + torch.rand(n, self.members, generator=generator).argsort(1)
        own, others = member[:, 0], member[:, 1 : examples + 1]
        images = self.rendered[own]
        if self.in_grid:
            example = others[:, 0]
            images = grid(self.plain[example], self.rendered[example], self.plain[own], images)
        condition = embed_analogies(self.before, others, self.after, others, own)
        return AnalogyImages(images, self.rendered_labels[own], condition)


class AnalogyData(TuningData):
    """Batches of a LoRWeB: images of both domains, each under an analogy from the source to its own domain.

    All analogies of a batch have equally many examples, drawn from 1 to the most that the adapter takes.
    """

    parts = ("source", "target")

    def __init__(
        self, model: BaseModel, params: FinetuneParams, analogies: AnalogiesParams, data: Path, folder: Path
    ) -> None:
        pairs, spec = analogies.pairs, analogy_spec(params.adapter)
        super().__init__(model, params, pairs[0].words, folder)
        self.spec, encoder = spec, load_encoder(spec)
        kind = RenderedAnalogies if spec.pairing == "exact" else PairAnalogies
        self.names = [(pair.source, pair.target) for pair in pairs]
        self.pairs = [kind(model, spec, encoder, pair, data, folder) for pair in pairs]

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`, the source's part first. Each image is of a random pair of domains."""
        n, generator = self.settings.batch_size, self._generator(step)
        examples = int(torch.randint(1, self.spec.examples + 1, (), generator=generator))
        counts = torch.randint(len(self.pairs), (n,), generator=generator).bincount(minlength=len(self.pairs))
        drawn = [
            pair.draw(count, examples, generator)
            for pair, count in zip(self.pairs, counts.tolist(), strict=True)
        ]
        parts = [part for parts in zip(*drawn, strict=True) for part in parts]  # all of the source first
        noise, timesteps = self._noise(parts[0].images.shape[1:], generator)
        return Batch(
            torch.cat([part.images for part in parts]),
            concatenate([self._prompts_of(part, generator) for part in parts]),
            noise.repeat(2, 1, 1, 1),
            timesteps.repeat(2),
            torch.cat([part.condition for part in parts]),
        )

    def _prompts_of(self, images: AnalogyImages, generator: torch.Generator) -> PromptEmbeddings:
        if images.labels is None:
            return self.empty.expand(len(images.images))
        return self._prompted(images.labels, generator)

    def conditions_to_show(self) -> Tensor:
        """Return, for each pair, the mean analogy to the source and to the target: [2 pairs, 3 width]."""
        generator = torch.Generator().manual_seed(derive(self.settings.seed, "validation"))
        return torch.stack(
            [part.condition.mean(0) for pair in self.pairs for part in pair.draw(64, 1, generator)]
        )

    def names_of_conditions(self) -> list[object]:
        """Return names such as MN:MN and MN:MM."""
        return [f"{source}:{domain}" for source, target in self.names for domain in (source, target)]
