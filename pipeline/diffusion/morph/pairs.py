"""Which images are morphed into each other under dg: of one class, from two source domains."""

from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from pipeline.config import DomainsParams, prompt
from pipeline.core.seeds import derive
from pipeline.data.image_sets import ImageSet
from pipeline.diffusion.generate.stage import choose_balanced
from pipeline.diffusion.morph.endpoints import End


def choose_pairs(sources: Mapping[str, ImageSet], classes: int, each: int, seed: int) -> pd.DataFrame:
    """`each` pairs for every class and every two domains, class after class within a turn.

    Columns label, domain_x, x, domain_y, y; x and y are names of images. A domain's images of a class are taken in an
    order that is drawn once, and again from the first after the last. A class that a domain lacks has no pairs there.
    """
    queues = {name: _queues(images, derive(seed, "pairs", name)) for name, images in sources.items()}
    rows = []
    for turn in range(each):
        for place, (first, second) in enumerate(combinations(sources, 2)):
            for label in range(classes):
                ends = queues[first].get(label), queues[second].get(label)
                if all(ends):
                    x, y = (queue[(place * each + turn) % len(queue)] for queue in ends)
                    rows.append((label, first, x, second, y))
    return pd.DataFrame(rows, columns=["label", "domain_x", "x", "domain_y", "y"])


def _queues(images: ImageSet, seed: int) -> dict[int, list[str]]:
    """The names of the images of each class."""
    queues: dict[int, list[str]] = {}
    for i in choose_balanced(images, None, seed):
        queues.setdefault(int(images.labels[i]), []).append(images.names[i])
    return queues


def ends_of(
    pair: object, sources: Mapping[str, ImageSet], domains: DomainsParams, template: str
) -> tuple[End, End]:
    """The two ends of a row of choose_pairs, as a named tuple: one image each, both with the prompt of their class."""
    told = prompt(template, domains.words[pair.label])
    return tuple(
        End(_image(sources[domain], name), told)
        for domain, name in ((pair.domain_x, pair.x), (pair.domain_y, pair.y))
    )


def _image(images: ImageSet, name: str) -> object:
    """The image called `name`, or the path of its file: [1, ...]."""
    return images.images[[images.names.index(name)]]
