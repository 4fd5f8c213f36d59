"""Choose which images are morphed into each other under dg: of one class, from two source domains."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from pipeline.config import DomainsParams, prompt
from pipeline.core.seeds import derive
from pipeline.data.image_sets import ImageSet
from pipeline.diffusion.generate.images import choose_balanced, images_named, labels_of
from pipeline.diffusion.morph.endpoints import Endpoint


@dataclass(frozen=True)
class Pair:
    """Two images of one class: the names of X and Y in their domains."""

    label: int
    domain_x: str
    x: str
    domain_y: str
    y: str


def choose_pairs(sources: Mapping[str, ImageSet], classes: int, each: int, seed: int) -> pd.DataFrame:
    """Choose `each` pairs for every class and every two domains.

    A domain's images of a class are taken in an order that the seed decides, and repeat after the last. A
    class that a domain lacks has no pairs with that domain.

    Args:
        sources: The source images by domain.
        classes: The number of classes.
        each: The number of pairs.
        seed: The seed of the order.

    Returns:
        Columns label, domain_x, x, domain_y, y, where x and y are names of images; within each of the `each`
        rounds, class after class.
    """
    queues = {name: _queues(images, derive(seed, "pairs", name)) for name, images in sources.items()}
    rows = []
    for turn in range(each):
        for index, (first, second) in enumerate(combinations(sources, 2)):
            for label in range(classes):
                names_x, names_y = queues[first].get(label), queues[second].get(label)
                if names_x and names_y:
                    position = index * each + turn
                    x, y = (names[position % len(names)] for names in (names_x, names_y))
                    rows.append((label, first, x, second, y))
    return pd.DataFrame(rows, columns=["label", "domain_x", "x", "domain_y", "y"])


def iterate_pairs(pairs: pd.DataFrame) -> Iterator[Pair]:
    """Yield the rows of `choose_pairs`."""
    for row in pairs.to_dict("records"):
        yield Pair(int(row["label"]), row["domain_x"], row["x"], row["domain_y"], row["y"])


def _queues(images: ImageSet, seed: int) -> dict[int, list[str]]:
    """Return the names of the images of each class, in an order that the seed decides."""
    labels = labels_of(images)
    queues: dict[int, list[str]] = {}
    for i in choose_balanced(images, None, seed):
        queues.setdefault(int(labels[i]), []).append(images.names[i])
    return queues


def endpoints_of(
    pair: Pair, sources: Mapping[str, ImageSet], domains: DomainsParams, template: str
) -> tuple[Endpoint, Endpoint]:
    """Return the two endpoints of a pair: one image each, both with the prompt of their class."""
    class_prompt = prompt(template, domains.words[pair.label])
    return (
        Endpoint(images_named(sources[pair.domain_x], [pair.x]), class_prompt),
        Endpoint(images_named(sources[pair.domain_y], [pair.y]), class_prompt),
    )
