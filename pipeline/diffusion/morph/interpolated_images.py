"""Stage two under dg, by morphs: make images between two images of one class from two source domains."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import prompt
from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.diffusion.base_model import BaseModel
from pipeline.diffusion.generate.image_writer import ImageWriter
from pipeline.diffusion.morph.endpoints import EndpointData
from pipeline.diffusion.morph.methods import make_method
from pipeline.diffusion.morph.pair_loras import pair_file, source_images
from pipeline.diffusion.morph.pairs import choose_pairs, endpoints_of, iterate_pairs
from pipeline.diffusion.morph.sampling import FrameSampler, with_adapter
from pipeline.metrics.distances import make_distances
from pipeline.planning.kinds.between import BetweenParams


def plan_images(params: BetweenParams, pairs: pd.DataFrame) -> pd.DataFrame:
    """List the images to make: the manifest, with `frames` images of every pair, pair after pair.

    Returns:
        The columns of interpolated domains (file, label, class, seed, t, scale, prompt, source, domain),
        where source and domain are those of X, and other and other_domain, those of Y. Frame i of n has t = i
        / (n + 1).
    """
    each, words = params.frames, params.domains.words
    rows = pairs.loc[pairs.index.repeat(each)].reset_index(drop=True)
    frame = np.arange(len(rows)) % each + 1
    return pd.DataFrame(
        {
            "file": [params.file(i) for i in range(len(rows))],
            "label": rows["label"],
            "class": [words[label] for label in rows["label"]],
            "seed": params.morph.seed,
            "t": [f"{t:.3g}" for t in frame / (each + 1)],
            "scale": 1.0,
            "prompt": [prompt(params.prompt, words[label]) for label in rows["label"]],
            "source": rows["x"],
            "domain": rows["domain_x"],
            "other": rows["y"],
            "other_domain": rows["domain_y"],
        }
    )


def run(params: BetweenParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make images/* and manifest.csv; a pair whose images all exist is not made again.

    Args:
        params: The job's parameters.
        inputs: `data`, a prepare artifact, whose held-out domain is not read, and `loras`, a pair_loras
            artifact.
        workspace: Where the images are written.
        progress: Called after each pair.
    """
    with reproducible(params.threads):
        sources = source_images(params, inputs["data"])
        pairs = choose_pairs(sources, len(params.domains.words), params.pairs, params.morph.seed)
        manifest, model = plan_images(params, pairs), BaseModel.load(params.base_model)
        morph = make_method(params.method, params.morph, make_distances(params.morph.perceptual))
        with ImageWriter(workspace, params) as writer:
            for index, pair in enumerate(iterate_pairs(pairs)):
                files = manifest["file"].iloc[index * params.frames : (index + 1) * params.frames]
                if not all((workspace / file).exists() for file in files):
                    own, adapter = with_adapter(model, morph)
                    assert adapter is not None, f"{params.method} learns an adapter"
                    adapter.load(inputs["loras"] / pair_file(index))
                    endpoints = endpoints_of(pair, sources, params.domains, params.prompt)
                    sampler = FrameSampler(own, adapter, morph, EndpointData(own, params.morph, endpoints))
                    _, images = morph.frames(params.frames + 2, sampler.sample_frames)
                    writer.write(files, images[1:-1])
                progress(index + 1, len(pairs), "pairs")
        write_atomic(workspace / "manifest.csv", manifest.to_csv(index=False))
