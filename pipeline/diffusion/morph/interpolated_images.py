"""Stage two under dg, by morphs: images between two images of one class, each from another source domain."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import prompt
from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.stage import to_png
from pipeline.diffusion.morph.endpoints import EndsData
from pipeline.diffusion.morph.methods import METHODS
from pipeline.diffusion.morph.pair_loras import pair_file, silent, source_images
from pipeline.diffusion.morph.pairs import choose_pairs, ends_of
from pipeline.diffusion.morph.sampling import Painter, adapted
from pipeline.metrics.distances import make_distances
from pipeline.planning.kinds.between import BetweenParams


def plan_images(params: BetweenParams, pairs: pd.DataFrame) -> pd.DataFrame:
    """The manifest: `frames` images of every pair, pair after pair.

    Columns as of interpolated domains (file, label, class, seed, t, scale, prompt, source, domain), where t is the
    frame's number over one more than there are, and source and domain are X's; and other, other_domain: Y's.
    """
    each, words = params.frames, params.domains.words
    rows = pairs.loc[pairs.index.repeat(each)].reset_index(drop=True)
    turn = np.arange(len(rows)) % each + 1
    return pd.DataFrame(
        {
            "file": [f"images/{i:06d}.png" for i in range(len(rows))],
            "label": rows["label"],
            "class": [words[label] for label in rows["label"]],
            "seed": params.morph.seed,
            "t": [f"{place:.3g}" for place in turn / (each + 1)],
            "scale": 1.0,
            "prompt": [prompt(params.prompt, words[label]) for label in rows["label"]],
            "source": rows["x"],
            "domain": rows["domain_x"],
            "other": rows["y"],
            "other_domain": rows["domain_y"],
        }
    )


def run(params: BetweenParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/*.png and manifest.csv; pairs whose images are all there already are not made again.

    inputs: `data`, a prepare artifact, of which the domain held out is not read, and `loras`, that of pair_loras.
    """
    with reproducible(params.threads):
        sources = source_images(params, inputs["data"])
        pairs = choose_pairs(sources, len(params.domains.words), params.pairs, params.morph.seed)
        manifest, model = plan_images(params, pairs), BaseModel.load(params.base_model)
        morph = METHODS[params.method](params.morph, make_distances(params.morph.perceptual))
        for place, pair in enumerate(pairs.itertuples()):
            files = manifest["file"].iloc[place * params.frames : (place + 1) * params.frames]
            if not all((workspace / file).exists() for file in files):
                own, adapter = adapted(model, morph)
                adapter.load(inputs["loras"] / pair_file(place))
                data = EndsData(own, params.morph, ends_of(pair, sources, params.domains, params.prompt))
                _, images = morph.frames(params.frames + 2, Painter(own, adapter, morph, data, silent).paint)
                for file, image in zip(files, images[1:-1], strict=True):
                    write_atomic(workspace / file, to_png(image))
            progress(place + 1, len(pairs), "pairs")
        write_atomic(workspace / "manifest.csv", manifest.to_csv(index=False))
