"""What `metrics` does; its arguments are in pipeline/cli/metrics.py."""

import argparse
import json

from pipeline.core.errors import UserError
from pipeline.metrics.distances import make_distances
from pipeline.metrics.evaluate import score
from pipeline.metrics.features import make_features
from pipeline.metrics.frames import image_files, read_images, read_sequences


def show_metrics(options: argparse.Namespace) -> int:
    """`metrics`."""
    sequences = [one for folder in options.folders for one in read_sequences(folder)]
    features = reference = None
    if options.reference is not None:
        files = image_files(options.reference)
        if len(files) < 2:
            raise UserError(f"--reference {options.reference} has {len(files)} images; expected two or more")
        reference, features = read_images(files), make_features(options.features)
    scores = score(sequences, make_distances(options.distance), features, reference)
    networks = {"distance": options.distance} | ({"features": options.features} if features else {})
    if options.json:
        rows = json.loads(scores.table.to_json(orient="records", double_precision=15))
        print(json.dumps(networks | {"rows": rows, "notes": scores.notes}))
        return 0
    shown = scores.table if features else scores.table.drop(columns=["FID", "KID"])
    print(shown.to_string(index=False, float_format="{:.4f}".format, na_rep="-"))
    print(
        f"PPL in {options.distance}"
        + (f"; FID and KID in features of {options.features}" if features else "")
    )
    print(*scores.notes, sep="\n", end="\n" * bool(scores.notes))
    return 0
