"""Analogies a : a' :: b : b' between domains, of which a LoRWeB learns and from which it makes images.

a and b are of the source, a' and b' of the target. In the authors' data b' is known. Under uda it is not: no image of the
target is known to be b's counterpart, nor is any label. What is honestly known is which domain an image is of, so that
the objective is: given the analogy, denoise an image b' of the target; and given a : a :: b, where source goes to
source, denoise b itself. The mix then learns what an analogy leads to, as Terra learns it of t, and b itself enters as it
does with Terra, by inversion, under the analogy that leads nowhere; or, the authors' way, in a grid with a and a', of
which b' is the last quarter (grid.py). How a' and b' are drawn is a setting (`Pairing` in pipeline/config/analogies.py);
a target's labels are never read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.config import AdapterSpec, AnalogySpec, PairParams
from pipeline.core.seeds import derive
from pipeline.data.image_sets import ImageSet, load_labelled, load_unlabelled
from pipeline.diffusion.adapters.lorweb import ImageEncoder, analogy, load_encoder
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.finetune.data import Batch, TuningData
from pipeline.diffusion.generate.in_context import grid
from pipeline.diffusion.latent_cache import cached_latents
from pipeline.diffusion.prompt_embeddings import PromptEmbeddings, concatenate
from pipeline.planning.kinds.finetune import FinetuneParams
from pipeline.planning.kinds.generate import GenerateParams

GROUPS = 400
"""Of rendered pairs: crops, or pairs of colours, for each pair of domains."""


def pseudo_labels(source: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """Classes int64 [m] for embeddings `target` [m, width]: of the nearest class mean of `source` [n, width].

    Embeddings are centred by the mean of their own domain first, which takes away much of what the domains differ in.
    """
    source, target = source - source.mean(0), target - target.mean(0)
    classes = labels.unique()
    means = torch.stack([source[labels == label].mean(0) for label in classes])
    cosine = torch.nn.functional.normalize(target, dim=1) @ torch.nn.functional.normalize(means, dim=1).T
    return classes[cosine.argmax(1)]


class Embedded:
    """The images of a domain as a LoRWeB sees them: embedded [N, width], with known or guessed classes, or with none."""

    def __init__(self, embedded: Tensor, labels: Tensor | None) -> None:
        self.embedded, self.labels = embedded, labels
        if labels is not None:
            self.order = labels.argsort(stable=True)
            self.counts = labels.bincount(minlength=int(labels.max()) + 1)
            self.starts = self.counts.cumsum(0) - self.counts

    def draw(self, labels: Tensor, each: int, generator: torch.Generator) -> Tensor:
        """Indices [n, each] of images of the classes `labels` [n]; of any where classes are unknown, or one has none."""
        share = torch.rand(len(labels), each, generator=generator, dtype=torch.float64)
        anyone = (share * len(self.embedded)).long()
        if self.labels is None:
            return anyone
        known = labels.clamp(max=len(self.counts) - 1)
        count = torch.where(labels < len(self.counts), self.counts[known], 0)[:, None]
        place = self.starts[known][:, None] + (share * count).long()
        return torch.where(count > 0, self.order[place.clamp(max=len(self.order) - 1)], anyone)


def embedded_source(spec: AnalogySpec, encoder: ImageEncoder, source: ImageSet) -> Embedded:
    """The source, with its classes where they decide what stands in an analogy."""
    labels = torch.from_numpy(source.labels) if spec.pairing == "pseudo" else None
    return Embedded(encoder.embed(source.images), labels)


def embedded_target(spec: AnalogySpec, encoder: ImageEncoder, target: ImageSet, source: Embedded) -> Embedded:
    """The target, with guessed classes where they decide. target: without labels."""
    found = encoder.embed(target.images)
    guessed = pseudo_labels(source.embedded, source.labels, found) if spec.pairing == "pseudo" else None
    return Embedded(found, guessed)


def analogies(source: Embedded, a: Tensor, target: Embedded, a_prime: Tensor, b: Tensor) -> Tensor:
    """A : a' :: b : ?, embedded [n, 3 width], from indices a and a' [n, k] and b [n]: the mean over k."""
    return analogy(source.embedded[a], target.embedded[a_prime], source.embedded[b][:, None]).mean(1)


@dataclass(frozen=True)
class Drawn:
    """n images of one domain: latents, classes (None if unknown), and the analogies that lead to them, [n, 3 width].

    images: [n, c, h, w], or with context: grid those of grids, [n, c, 2h, 2w].
    """

    images: Tensor
    labels: Tensor | None
    condition: Tensor


class PairAnalogies:
    """What is learned from one ordered pair of domains. folder: where latents are kept."""

    def __init__(
        self,
        model: BaseModel,
        spec: AnalogySpec,
        encoder: ImageEncoder,
        pair: PairParams,
        data: Path,
        folder: Path,
    ) -> None:
        self.in_grid = spec.context == "grid"
        images = load_labelled(data, pair.source, "train")
        self.labels = torch.from_numpy(images.labels)
        self.source = embedded_source(spec, encoder, images)
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
        self.target = embedded_target(spec, encoder, images, self.source)
        self.target_latents = cached_latents(model, images.images, folder, f"target_{pair.target}")

    def draw(self, n: int, examples: int, generator: torch.Generator) -> tuple[Drawn, Drawn]:
        """N images b of the source, under a : a :: b, and as many of the target; so many examples in each analogy."""
        b = torch.randint(len(self.latents), (n,), generator=generator)
        labels = self.labels[b]
        a, other = (self.source.draw(labels, examples, generator) for _ in range(2))
        own = self.latents
        images = self._images((own, a[:, 0]), (own, other[:, 0]), (own, b), (own, b))
        stays = Drawn(images, labels, analogies(self.source, a, self.source, other, b))
        return stays, self._to_target(b, a, generator)

    def _images(self, *quarters: tuple[Tensor | None, Tensor]) -> Tensor:
        """What is learned to denoise. quarters: a, a', b and b', each as rows [n] of latents [N, c, h, w]; all but b'
        count in a grid alone.
        """
        if self.in_grid:
            return grid(*(latents[rows] for latents, rows in quarters))
        latents, rows = quarters[-1]
        return latents[rows]

    def _to_target(self, b: Tensor, a: Tensor, generator: torch.Generator) -> Drawn:
        labels, known = self.labels[b], self.target.labels is not None
        a_prime = self.target.draw(labels, a.shape[1], generator)
        b_prime = self.target.draw(labels, 1, generator)[:, 0]
        own, theirs = self.latents, self.target_latents
        images = self._images((own, a[:, 0]), (theirs, a_prime[:, 0]), (own, b), (theirs, b_prime))
        return Drawn(images, labels if known else None, analogies(self.source, a, self.target, a_prime, b))


class RenderedAnalogies(PairAnalogies):
    """The same of rendered pairs: b' is b in the manner of the target, and what leads from a to a' leads from b to b'."""

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
        made = exact_pairs(pair.source, pair.target, GROUPS, self.members, seed)
        before, after, labels = (part.reshape(-1, *part.shape[2:]) for part in made)
        self.before, self.after = (Embedded(encoder.embed(images), None) for images in (before, after))
        self.rendered_labels = torch.from_numpy(labels)
        ends = f"{pair.source}_{pair.target}"
        self.rendered = cached_latents(model, after, folder, f"rendered_{ends}")
        # Of what stands before the change, nothing but a grid has latents; other analogies see its embeddings alone.
        self.plain = cached_latents(model, before, folder, f"plain_{ends}") if self.in_grid else None

    def _to_target(self, b: Tensor, a: Tensor, generator: torch.Generator) -> Drawn:
        """Of one group each, in place of the source's own images."""
        n, examples = a.shape
        first = torch.randint(GROUPS, (n, 1), generator=generator) * self.members
        member = first + torch.rand(n, self.members, generator=generator).argsort(1)
        own, others = member[:, 0], member[:, 1 : examples + 1]
        plain, made = self.plain, self.rendered
        images = self._images((plain, others[:, 0]), (made, others[:, 0]), (plain, own), (made, own))
        condition = analogies(self.before, others, self.after, others, own)
        return Drawn(images, self.rendered_labels[own], condition)


class AnalogyData(TuningData):
    """Batches of a LoRWeB: source images under analogies that lead nowhere, and target images under those that lead there.

    Every analogy of a batch has equally many examples, drawn from 1 to the most that the adapter takes.
    """

    parts = ("source", "target")

    def __init__(self, model: BaseModel, params: FinetuneParams, data: Path, folder: Path) -> None:
        pairs, spec = params.analogies.pairs, params.adapter.analogy
        super().__init__(model, params, pairs[0].words, folder)
        self.spec, encoder = spec, load_encoder(spec)
        kind = RenderedAnalogies if spec.pairing == "exact" else PairAnalogies
        self.names = [f"{pair.source}:{pair.target}" for pair in pairs]
        self.pairs = [kind(model, spec, encoder, pair, data, folder) for pair in pairs]

    def batch(self, step: int) -> Batch:
        """The batch of `step`, of the source first; pairs of domains as they fall."""
        n, generator = self.settings.batch_size, self._generator(step)
        examples = int(torch.randint(1, self.spec.examples + 1, (), generator=generator))
        counts = torch.randint(len(self.pairs), (n,), generator=generator).bincount(minlength=len(self.pairs))
        drawn = [
            pair.draw(count, examples, generator)
            for pair, count in zip(self.pairs, counts.tolist(), strict=True)
        ]
        halves = [half for pair in zip(*drawn, strict=True) for half in pair]  # of the source first
        noise, timesteps = self._noise(halves[0].images, generator)
        return Batch(
            torch.cat([half.images for half in halves]),
            concatenate([self._prompts_of(half, generator) for half in halves]),
            noise.repeat(2, 1, 1, 1),
            timesteps.repeat(2),
            torch.cat([half.condition for half in halves]),
        )

    def _prompts_of(self, drawn: Drawn, generator: torch.Generator) -> PromptEmbeddings:
        if drawn.labels is None:
            return self.empty.expand(len(drawn.images))
        return self._prompted(drawn.labels, generator)

    def conditions_to_show(self) -> Tensor:
        """Of each pair, the mean analogy to itself, and the mean analogy to the target: [2 pairs, 3 width]."""
        generator = torch.Generator().manual_seed(derive(self.settings.seed, "validation"))
        return torch.stack(
            [half.condition.mean(0) for pair in self.pairs for half in pair.draw(64, 1, generator)]
        )

    def names_of_conditions(self) -> list[object]:
        """Such as MN:MN and MN:MM."""
        sources = [f"{name.partition(':')[0]}:{name.partition(':')[0]}" for name in self.names]
        return [name for both in zip(sources, self.names, strict=True) for name in both]


@dataclass(frozen=True)
class StageTwo:
    """The analogies of a set of images to make: embedded [N, 3 width] both, and the names of their images.

    shown: a, a' and b of each, of several examples the first: images [N, H, W, 3], or the paths [N] of their files.
    """

    to_itself: Tensor
    condition: Tensor
    named: pd.DataFrame
    shown: tuple[np.ndarray, np.ndarray, np.ndarray]


def of_manifest(params: GenerateParams, adapter: AdapterSpec, data: Path, manifest: pd.DataFrame) -> StageTwo:
    """The analogies for the rows of a manifest, each of as many examples as the adapter takes.

    b is the source image that is adapted; of an image made from noise, any source image of its class, which then speaks
    through the mix alone. a and a' are drawn for each image anew, as in fine-tuning. Columns of `named`: a, a_prime, b, with " | " between several.
    """
    spec, encoder = adapter.analogy, load_encoder(adapter.analogy)
    source = load_labelled(data, params.pair.source, "train")
    target = load_unlabelled(data, params.pair.target, "train")
    of_source = embedded_source(spec, encoder, source)
    of_target = embedded_target(spec, encoder, target, of_source)
    generator = torch.Generator().manual_seed(derive(params.seed, "analogies", params.contents))
    labels = torch.tensor(manifest["label"].to_numpy())
    if params.contents == "adapted":
        row_of = {name: row for row, name in enumerate(source.names)}
        b = torch.tensor([row_of[name] for name in manifest["source"]])
    else:
        by_class = Embedded(of_source.embedded, torch.from_numpy(source.labels))
        b = by_class.draw(labels, 1, generator)[:, 0]
    a, other = (of_source.draw(labels, spec.examples, generator) for _ in range(2))
    a_prime = of_target.draw(labels, spec.examples, generator)
    named = {"a": _names(source, a), "a_prime": _names(target, a_prime), "b": _names(source, b[:, None])}
    return StageTwo(
        analogies(of_source, a, of_source, other, b),
        analogies(of_source, a, of_target, a_prime, b),
        pd.DataFrame(named, manifest.index),
        (source.images[a[:, 0]], target.images[a_prime[:, 0]], source.images[b]),
    )


def _names(images: ImageSet, rows: Tensor) -> list[str]:
    names = np.array(images.names, dtype=object)
    return [" | ".join(some) for some in names[rows.numpy()]]
