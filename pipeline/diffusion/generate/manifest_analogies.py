"""The analogies of the images that stage two makes with a LoRWeB."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.config import AdapterSpec
from pipeline.core.seeds import derive
from pipeline.data.image_sets import ImageSet, load_labelled, load_unlabelled
from pipeline.diffusion.adapters.lorweb import analogy_spec, load_encoder
from pipeline.diffusion.finetune.analogies import (
    EmbeddedImages,
    embed_analogies,
    embed_source,
    embed_target,
)
from pipeline.planning.kinds.generate import GenerateParams


@dataclass(frozen=True)
class ManifestAnalogies:
    """The analogies of the N images of a manifest.

    Attributes:
        identity: Embedded analogies from source to source, [N, 3 width].
        change: Embedded analogies from source to target, [N, 3 width].
        named: Names of the images a, a_prime and b of each analogy, with " | " between several.
        shown: a, a' and b of each analogy (the first of several examples): images [N, H, W, 3], or the paths
            [N] of image files.
    """

    identity: Tensor
    change: Tensor
    named: pd.DataFrame
    shown: tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_analogies(
    params: GenerateParams, adapter: AdapterSpec, data: Path, manifest: pd.DataFrame
) -> ManifestAnalogies:
    """Draw the analogies for the rows of a manifest, each with as many examples as the adapter takes.

    b is the source image that is adapted. For an image made from noise, b is any source image of its class,
    whose only influence is on the mix. a and a' are drawn anew for each image, as in fine-tuning.
    """
    assert params.pair is not None
    spec = analogy_spec(adapter)
    encoder = load_encoder(spec)
    source = load_labelled(data, params.pair.source, "train")
    target = load_unlabelled(data, params.pair.target, "train")
    embedded_source = embed_source(spec, encoder, source)
    embedded_target = embed_target(spec, encoder, target, embedded_source)
    generator = torch.Generator().manual_seed(derive(params.seed, "analogies", params.contents))
    labels = torch.tensor(manifest["label"].to_numpy())
    if params.contents == "adapted":
        row_of = {name: row for row, name in enumerate(source.names)}
        b = torch.tensor([row_of[name] for name in manifest["source"]])
    else:
        by_class = EmbeddedImages(embedded_source.embedded, torch.from_numpy(source.labels))
        b = by_class.draw(labels, 1, generator)[:, 0]
    a, other = (embedded_source.draw(labels, spec.examples, generator) for _ in range(2))
    a_prime = embedded_target.draw(labels, spec.examples, generator)
    named = {"a": _names(source, a), "a_prime": _names(target, a_prime), "b": _names(source, b[:, None])}
    return ManifestAnalogies(
        embed_analogies(embedded_source, a, embedded_source, other, b),
        embed_analogies(embedded_source, a, embedded_target, a_prime, b),
        pd.DataFrame(named, manifest.index),
        (source.images[a[:, 0]], target.images[a_prime[:, 0]], source.images[b]),
    )


def _names(images: ImageSet, rows: Tensor) -> list[str]:
    names = np.array(images.names, dtype=object)
    return [" | ".join(row) for row in names[rows.numpy()]]
