"""The score of the morphs of one kind and method, as a job of a suite."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import load_labelled
from pipeline.metrics.distances import make_distances
from pipeline.metrics.evaluate import score
from pipeline.metrics.features import make_features
from pipeline.metrics.frames import ABOUT, read_sequences
from pipeline.planning.kinds.score import ScoreParams


def reference(data: Path, ends: pd.DataFrame, domains: list[str]) -> np.ndarray:
    """All training images of the classes, in the domains, that the morphs go between: uint8 [n, H, W, 3]."""
    wanted = {(row.domain_x, row.label_x) for row in ends.itertuples()}
    wanted |= {(row.domain_y, row.label_y) for row in ends.itertuples()}
    found = []
    for domain in domains:
        images = load_labelled(data, domain, "train")
        labels = [label for its, label in wanted if its == domain]
        found.append(images.images[np.isin(images.labels, labels)])
    return np.concatenate(found)


def run(params: ScoreParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make record.json: kind, method, distance, features, and what `score` tells; psnr, of images alone.

    inputs: `data`, a prepare artifact, and `morphs`.
    """
    with reproducible(params.threads):
        ends = pd.read_csv(inputs["morphs"] / "ends.csv")
        sequences = read_sequences(inputs["morphs"])
        known = reference(inputs["data"], ends, params.domains)
        scores = score(sequences, make_distances(params.distance), make_features(params.features), known)
        (row,) = json.loads(scores.table.to_json(orient="records", double_precision=15))
        told = [json.loads((one.folder / ABOUT).read_text()) for one in sequences]
        ratios = [ratio for about in told for ratio in about.get("psnr", [])]
        record = params.model_dump(include={"kind", "method", "distance", "features"}) | row
        record |= {"reference": len(known), "psnr": float(np.mean(ratios)) if ratios else None}
        write_atomic(workspace / "record.json", json.dumps(record, indent=1) + "\n")
        progress(1, 1, "scored")
