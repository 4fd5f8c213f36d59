"""Make the morphs of one kind by one method, between endpoints that are drawn from a dataset."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import prompt
from pipeline.core.reproducibility import reproducible
from pipeline.core.seeds import derive
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_files import pixels
from pipeline.data.image_sets import ImageSet, load_labelled
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.images import labels_of
from pipeline.diffusion.morph.endpoints import Endpoint, resize
from pipeline.diffusion.morph.output import new_folder, write_morph
from pipeline.diffusion.morph.sampling import MorphFrames, make_morph
from pipeline.metrics.definitions import psnr
from pipeline.metrics.distances import make_distances
from pipeline.planning.kinds.morphs import MorphsParams

COLUMNS = ["domain_x", "label_x", "domain_y", "label_y"]


def draw_endpoints(params: MorphsParams) -> pd.DataFrame:
    """Draw the domain and the class of both endpoints of every morph; all methods get the same.

    Morphs of images and of subjects go between two classes of one domain, morphs of styles between two
    domains in one class.

    Returns:
        Columns domain_x, label_x, domain_y, label_y.
    """
    rng, rows = np.random.default_rng(derive(params.seed, "morphs", params.kind)), []
    for _ in range(params.pairs):
        domains = rng.permutation(params.domains)
        labels = rng.permutation(len(params.words))
        if params.kind == "styles":
            rows.append([domains[0], int(labels[0]), domains[1], int(labels[0])])
        else:
            rows.append([domains[0], int(labels[0]), domains[0], int(labels[1])])
    return pd.DataFrame(rows, columns=COLUMNS)


def _draw_images(
    params: MorphsParams, sources: Mapping[str, ImageSet], domain: str, label: int, draw: int
) -> Endpoint:
    """Draw images of a class of a domain: one, or several of a style or a subject.

    Args:
        params: The job's parameters.
        sources: The images by domain.
        domain: The domain.
        label: The class.
        draw: The number of this draw, from which its seed is derived.
    """
    images = sources[domain]
    of_class = np.flatnonzero(labels_of(images) == label)
    rng = np.random.default_rng(derive(params.seed, "end", domain, label, draw))
    count = 1 if params.kind == "images" else params.several
    chosen = rng.permutation(of_class)[:count]
    return Endpoint(images.images[chosen], prompt(params.prompt, params.words[label]))


def _endpoints(
    params: MorphsParams, sources: Mapping[str, ImageSet], table: pd.DataFrame
) -> Iterator[tuple[Endpoint, Endpoint]]:
    """Yield X and Y of every row of `draw_endpoints`."""
    for index, row in enumerate(table.to_dict("records")):
        yield (
            _draw_images(params, sources, row["domain_x"], int(row["label_x"]), index),
            _draw_images(params, sources, row["domain_y"], int(row["label_y"]), index + params.pairs),
        )


def _about(params: MorphsParams, x: Endpoint, y: Endpoint, result: MorphFrames) -> dict[str, Any]:
    """Describe a morph for about.json; single images have their PSNR at both endpoints too."""
    about: dict[str, Any] = {
        "method": params.method,
        "prompt_x": x.prompt,
        "prompt_y": y.prompt,
        "places": [round(float(position), 4) for position in result.positions],
    }
    if params.kind == "images":
        size = result.frames.shape[1]
        originals = [resize(pixels(endpoint.images, size), size)[0] for endpoint in (x, y)]
        about["psnr"] = [
            round(psnr(*pair), 2) for pair in zip(result.frames[[0, -1]], originals, strict=True)
        ]
    return about


def run(params: MorphsParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make the folders 000/, 001/, …, as `write_morph` writes them, and ends.csv (see `draw_endpoints`).

    A morph whose folder exists is not made again.

    Args:
        params: The job's parameters.
        inputs: `data`, a prepare artifact.
        workspace: Where the folders are written.
        progress: Called after each morph.
    """
    with reproducible(params.threads):
        sources = {name: load_labelled(inputs["data"], name, "train") for name in params.domains}
        model, distances = BaseModel.load(params.base_model), make_distances(params.morph.perceptual)
        table = draw_endpoints(params)
        for index, (x, y) in enumerate(_endpoints(params, sources, table)):
            folder = workspace / f"{index:03d}"
            if not folder.exists():
                result = make_morph(model, params.method, (x, y), params.morph, params.frames, distances)
                with new_folder(folder) as temporary:
                    write_morph(temporary, result.frames, _about(params, x, y, result))
            progress(index + 1, len(table), "morphs")
        write_atomic(workspace / "ends.csv", table.to_csv(index=False))
