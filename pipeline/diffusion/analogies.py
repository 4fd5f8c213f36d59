"""Analogies a : a' :: b : b' between domains, of which a LoRWeB learns and from which it makes images.

a and b are of the source, a' and b' of the target. In the authors' data b' is known. Under uda it is not: no image of the
target is known to be b's counterpart, nor is any label. What is honestly known is which domain an image is of, so that
the objective is: given the analogy, denoise an image b' of the target; and given a : a :: b, where source goes to
source, denoise b itself. The mix then learns what an analogy leads to, as Terra learns it of t, and b itself enters as it
does with Terra, by inversion, under the analogy that leads nowhere. How a' and b' are drawn is a setting (`Pairing` in
pipeline/config/analogies.py); a target's labels are never read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.config import AdapterSpec, AnalogySpec, FinetuneParams, GenerateParams, PairParams
from pipeline.data.domains import ImageSet, load_labelled, load_unlabelled
from pipeline.diffusion.adapters.lorweb import ImageEncoder, analogy, load_encoder
from pipeline.diffusion.base import BaseModel
from pipeline.diffusion.conditions import joined
from pipeline.diffusion.encoding import kept_latents
from pipeline.diffusion.tuning_data import Batch, TuningData
from pipeline.seeds import derive

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


@dataclass(frozen=True)
class Domains:
    """Source and target of one pair."""

    source: Embedded
    target: Embedded

    @classmethod
    def make(cls, spec: AnalogySpec, encoder: ImageEncoder, source: ImageSet, target: ImageSet) -> "Domains":
        """Embed both. The source has its labels, but where analogies pair classes at random; the target guessed ones."""
        of_source, of_target = encoder.embed(source.images), encoder.embed(target.images)
        if spec.pairing != "pseudo":
            return cls(Embedded(of_source, None), Embedded(of_target, None))
        labels = torch.from_numpy(source.labels)
        return cls(
            Embedded(of_source, labels), Embedded(of_target, pseudo_labels(of_source, labels, of_target))
        )

    def analogies(self, a: Tensor, a_prime: Tensor, b: Tensor) -> Tensor:
        """a : a' :: b : ?, embedded [n, 3 width], from indices [n, k], [n, k] and [n]: the mean over k."""
        known = self.source.embedded
        return analogy(known[a], self.target.embedded[a_prime], known[b][:, None]).mean(1)

    def to_itself(self, a: Tensor, other: Tensor, b: Tensor) -> Tensor:
        """The same where a' is an image of the source too: nothing is to change."""
        known = self.source.embedded
        return analogy(known[a], known[other], known[b][:, None]).mean(1)


@dataclass(frozen=True)
class Drawn:
    """Analogies of n source images and as many of the target: latents, classes (of target images, or None), conditions."""

    b: Tensor
    labels: Tensor
    to_itself: Tensor
    b_prime: Tensor
    labels_prime: Tensor | None
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
        source = load_labelled(data, pair.source, "train")
        target = load_unlabelled(data, pair.target, "train")
        self.labels = torch.from_numpy(source.labels)
        self.guessed = spec.pairing == "pseudo"
        self.domains = Domains.make(spec, encoder, source, target)
        self.source = kept_latents(model, source.images, folder, f"source_{pair.source}")
        self.target = kept_latents(model, target.images, folder, f"target_{pair.target}")

    def draw(self, n: int, examples: int, generator: torch.Generator) -> Drawn:
        """n analogies, each of so many examples."""
        source, target = self.domains.source, self.domains.target
        b = torch.randint(len(self.source), (n,), generator=generator)
        labels = self.labels[b]
        a, other = (source.draw(labels, examples, generator) for _ in range(2))
        a_prime = target.draw(labels, examples, generator)
        b_prime = target.draw(labels, 1, generator)[:, 0]
        return Drawn(
            self.source[b],
            labels,
            self.domains.to_itself(a, other, b),
            self.target[b_prime],
            labels if self.guessed else None,
            self.domains.analogies(a, a_prime, b),
        )


class RenderedAnalogies(PairAnalogies):
    """The same of rendered pairs, which are exact: b' is b in the manner of the target, and what leads from a to a' too."""

    def __init__(
        self,
        model: BaseModel,
        spec: AnalogySpec,
        encoder: ImageEncoder,
        pair: PairParams,
        data: Path,
        folder: Path,
    ) -> None:
        from pipeline.data.rendered import exact_pairs

        super().__init__(model, spec, encoder, pair, data, folder)
        self.members = spec.examples + 1
        seed = derive(0, "analogies", pair.source, pair.target)
        before, after, labels = (x.reshape(-1, *x.shape[2:]) for x in exact_pairs(pair.source, pair.target, GROUPS, self.members, seed))  # fmt: skip
        self.before, self.after = encoder.embed(before), encoder.embed(after)
        self.rendered_labels = torch.from_numpy(labels)
        self.rendered = kept_latents(model, after, folder, f"rendered_{pair.source}_{pair.target}")

    def draw(self, n: int, examples: int, generator: torch.Generator) -> Drawn:
        """n analogies, each of so many examples; those to itself are of the source's own images."""
        drawn = super().draw(n, examples, generator)
        group = torch.randint(GROUPS, (n,), generator=generator)[:, None] * self.members
        shuffled = torch.rand(n, self.members, generator=generator).argsort(1)
        b, a = group[:, 0] + shuffled[:, 0], group + shuffled[:, 1 : examples + 1]
        condition = analogy(self.before[a], self.after[a], self.before[b][:, None]).mean(1)
        return Drawn(
            drawn.b, drawn.labels, drawn.to_itself, self.rendered[b], self.rendered_labels[b], condition
        )


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
        noise, timesteps = self._noise(drawn[0].b, generator)
        prompts = [self._prompted(one.labels, generator) for one in drawn]
        for one in drawn:
            unknown = one.labels_prime is None
            prompts.append(
                self.empty.expand(len(one.labels)) if unknown else self._prompted(one.labels_prime, generator)
            )
        return Batch(
            torch.cat([one.b for one in drawn] + [one.b_prime for one in drawn]),
            joined(prompts),
            noise.repeat(2, 1, 1, 1),
            timesteps.repeat(2),
            torch.cat([one.to_itself for one in drawn] + [one.condition for one in drawn]),
        )

    def conditions_to_show(self) -> Tensor:
        """Of each pair, the mean analogy to itself, and the mean analogy to the target: [2 pairs, 3 width]."""
        generator = torch.Generator().manual_seed(derive(self.settings.seed, "validation"))
        drawn = [pair.draw(64, 1, generator) for pair in self.pairs]
        return torch.stack([one.mean(0) for draw in drawn for one in (draw.to_itself, draw.condition)])

    def names_of_conditions(self) -> list[object]:
        """Such as MN:MN and MN:MM."""
        sources = [f"{name.partition(':')[0]}:{name.partition(':')[0]}" for name in self.names]
        return [name for both in zip(sources, self.names, strict=True) for name in both]


@dataclass(frozen=True)
class StageTwo:
    """The analogies of a set of images to make: embedded [N, 3 width] both, and the names of their images."""

    to_itself: Tensor
    condition: Tensor
    named: pd.DataFrame


def of_manifest(params: GenerateParams, adapter: AdapterSpec, data: Path, manifest: pd.DataFrame) -> StageTwo:
    """The analogies for the rows of a manifest, each of as many examples as the adapter takes.

    b is the source image that is adapted; of an image made from noise, any source image of its class, which then speaks
    through the mix alone. a and a' are drawn for each image anew, as in fine-tuning. Columns of `named`: a, a_prime, b, with " | " between several.
    """
    spec = adapter.analogy
    source = load_labelled(data, params.pair.source, "train")
    target = load_unlabelled(data, params.pair.target, "train")
    domains = Domains.make(spec, load_encoder(spec), source, target)
    generator = torch.Generator().manual_seed(derive(params.seed, "analogies", params.contents))
    labels = torch.from_numpy(manifest["label"].to_numpy())
    classes = Embedded(domains.source.embedded, torch.from_numpy(source.labels))
    b = classes.draw(labels, 1, generator)[:, 0]
    if params.contents == "adapted":
        row_of = {name: row for row, name in enumerate(source.names)}
        b = torch.tensor([row_of[name] for name in manifest["source"]])
    a, other = (domains.source.draw(labels, spec.examples, generator) for _ in range(2))
    a_prime = domains.target.draw(labels, spec.examples, generator)
    named = {"a": _names(source, a), "a_prime": _names(target, a_prime), "b": _names(source, b[:, None])}
    return StageTwo(
        domains.to_itself(a, other, b), domains.analogies(a, a_prime, b), pd.DataFrame(named, manifest.index)
    )


def _names(images: ImageSet, rows: Tensor) -> list[str]:
    names = np.array(images.names, dtype=object)
    return [" | ".join(some) for some in names[rows.numpy()]]
