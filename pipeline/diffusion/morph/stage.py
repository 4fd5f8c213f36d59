"""Morphs of one kind by one method, between ends that are drawn from a data set."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import prompt
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import ImageSet, load_labelled
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.morph.endpoints import End
from pipeline.diffusion.morph.output import new_folder, write_morph
from pipeline.diffusion.morph.pair_loras import silent
from pipeline.diffusion.morph.sampling import make_morph
from pipeline.metrics.definitions import psnr
from pipeline.metrics.distances import make_distances
from pipeline.planning.kinds.morphs import MorphsParams


def draw_ends(params: MorphsParams) -> pd.DataFrame:
    """The ends of every morph: columns domain_x, label_x, domain_y, label_y; the same for all methods.

    images and subjects: two classes of one domain; styles: one class in two domains.
    """
    rng, rows = np.random.default_rng(derive(params.seed, "morphs", params.kind)), []
    for _ in range(params.pairs):
        domains = rng.permutation(params.domains)
        labels = rng.permutation(len(params.words))
        x, y = (0, 1) if params.kind == "styles" else (0, 0), (0, 0) if params.kind == "styles" else (0, 1)
        rows.append([value for i in (0, 1) for value in (domains[x[i]], int(labels[y[i]]))])
    return pd.DataFrame(rows, columns=["domain_x", "label_x", "domain_y", "label_y"])


def _end(params: MorphsParams, sources: Mapping[str, ImageSet], domain: str, label: int, place: int) -> End:
    """Images of a class of a domain, drawn for the morph at `place`: one, or several of a style or a subject."""
    images = sources[domain]
    there = np.flatnonzero(images.labels == label)
    rng = np.random.default_rng(derive(params.seed, "end", domain, label, place))
    count = 1 if params.kind == "images" else params.several
    chosen = rng.permutation(there)[:count]
    return End(images.images[chosen], prompt(params.prompt, params.words[label]))


def run(params: MorphsParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make 000/, 001/, …, as `morph` writes them, and ends.csv (see draw_ends, with psnr_x and psnr_y of images).

    inputs: `data`, a prepare artifact. Morphs that are there already are not made again.
    """
    with reproducible(params.threads):
        sources = {name: load_labelled(inputs["data"], name, "train") for name in params.domains}
        model, distances = BaseModel.load(params.base_model), make_distances(params.morph.perceptual)
        table = draw_ends(params)
        for place, row in enumerate(table.itertuples()):
            folder = workspace / f"{place:03d}"
            x = _end(params, sources, row.domain_x, row.label_x, place)
            y = _end(params, sources, row.domain_y, row.label_y, place + params.pairs)
            if not folder.exists():
                made = make_morph(
                    model, params.method, (x, y), params.morph, params.frames, distances, silent
                )
                about = {"method": params.method, "prompt_x": x.prompt, "prompt_y": y.prompt}
                about |= {"places": [round(float(s), 4) for s in made.places]}
                if params.kind == "images":
                    about["psnr"] = [
                        round(psnr(made.frames[i], end.images[0]), 2) for i, end in ((0, x), (-1, y))
                    ]
                with new_folder(folder) as part:
                    write_morph(part, made.frames, about)
            progress(place + 1, len(table), "morphs")
        write_atomic(workspace / "ends.csv", table.to_csv(index=False))
