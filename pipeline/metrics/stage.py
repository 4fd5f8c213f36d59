"""Score the morphs of one kind and method, as a job of a suite."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.reproducibility import reproducible
from pipeline.core.stage import Progress
from pipeline.core.store import write_atomic
from pipeline.data.image_sets import load_labelled
from pipeline.metrics.distances import make_distances
from pipeline.metrics.evaluate import Reference, score
from pipeline.metrics.features import make_features
from pipeline.metrics.frames import ABOUT, read_sequences
from pipeline.planning.kinds.score import ScoreParams


def reference_images(data: Path, endpoints: pd.DataFrame, domains: list[str]) -> np.ndarray:
    """Load the training images of all domains and classes that are endpoints of a morph.

    Args:
        data: A prepare artifact.
        endpoints: Columns domain_x, label_x, domain_y, label_y.
        domains: The domains of the suite.

    Returns:
        uint8 [n, H, W, 3], or object [n], paths of files.
    """
    wanted = {
        (str(row[f"domain_{end}"]), int(row[f"label_{end}"]))
        for row in endpoints.to_dict("records")
        for end in "xy"
    }
    found = []
    for domain in domains:
        images = load_labelled(data, domain, "train")
        labels = [label for its_domain, label in wanted if its_domain == domain]
        found.append(images.images[np.isin(np.asarray(images.labels), labels)])
    return np.concatenate(found)


def run(params: ScoreParams, inputs: dict[str, Path], workspace: Path, progress: Progress) -> None:
    """Make record.json: kind, method, distance, features, the scores, and psnr (single images only).

    Args:
        params: The job's parameters.
        inputs: `data`, a prepare artifact, and `morphs`, the artifact with the morphs.
        workspace: Where the record is written.
        progress: Called at the end.
    """
    with reproducible(params.threads):
        endpoints = pd.read_csv(inputs["morphs"] / "ends.csv", dtype=str, keep_default_na=False)
        sequences = read_sequences(inputs["morphs"])
        images = reference_images(inputs["data"], endpoints, params.domains)
        reference = Reference(images, make_features(params.features), upright=False)
        scores = score(sequences, make_distances(params.distance), reference)
        (row,) = json.loads(scores.table.to_json(orient="records", double_precision=15))
        described = [json.loads((one.folder / ABOUT).read_text()) for one in sequences]
        ratios = [ratio for about in described for ratio in about.get("psnr", [])]
        record = params.model_dump(include={"kind", "method", "distance", "features"}) | row
        record |= {"reference": len(reference.images), "psnr": float(np.mean(ratios)) if ratios else None}
        write_atomic(workspace / "record.json", json.dumps(record, indent=1) + "\n")
        progress(1, 1, "scored")
