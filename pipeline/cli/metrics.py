"""`metrics`: scores of frames that anyone made."""

import argparse
import json
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, with_json

ABOUT = """\
Score sequences of frames, a row for each method: those of `morph`, or any that others made.

FOLDER holds frames whose names end in numbers (frame_000.png, frame_001.png, …), or folders of such; other images in
it, such as a strip, are passed over. The method is what about.json of `morph` says, or the folder's own name; folders
of one name, or of one method, are scored together.

  PPL             the sum of the perceptual distances between neighbouring frames: lower is smoother
  PPL variation   the deviation of these distances over their mean: 0 is an even pace
  FID, KID        with --reference: how far all frames of a method are, as a set, from the images there: lower is nearer

  run_benchmark.py metrics out/ddim out/terra --distance digits
  run_benchmark.py metrics out/* --reference pictures/ --features resnet50=weights.safetensors --distance alex

Networks: `inception` (FID and KID as they are published), `alex`, `vgg`, `squeeze` (LPIPS, for PPL), `digits` (a small
one of this project for its 32x32 digits), any model of timm with weights of the hub, or NAME=FILE with those of a file;
for PPL also `pixels`, which needs none. Where weights can't be had, that is an error: none stands in for another.

Frames of one sequence have one size and one mode, and are never resized; scores of frames of different sizes do not
compare, which is said. The reference is a folder of images, or of class folders; images of another size than the frames
are cut to the frames' proportions and resized to their size, which is said too. Where there are not more images than
features, FID is left out and KID stands for it."""


def add(commands: Any) -> None:
    """Adds `metrics`."""
    about = "score frames: how smooth (PPL), and how near to images (FID, KID)"
    parser = add_command(commands, "metrics", show_metrics, about, description=ABOUT)
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="frames, or folders of frames"
    )
    parser.add_argument(
        "--reference", type=Path, metavar="FOLDER", help="images to compare with, for FID and KID"
    )
    parser.add_argument(
        "--features", metavar="NETWORK", default="inception", help="of FID and KID (default: %(default)s)"
    )
    parser.add_argument("--distance", metavar="NETWORK", default="alex", help="of PPL (default: %(default)s)")
    with_json(parser)


def show_metrics(options: argparse.Namespace) -> int:
    """Score the frames in folders and print the table."""
    from pipeline.metrics.evaluate import evaluate_folders

    scores = evaluate_folders(options.folders, options.distance, options.reference, options.features)
    networks = {"distance": options.distance}
    if options.reference is not None:
        networks["features"] = options.features
    if options.json:
        rows = json.loads(scores.table.to_json(orient="records", double_precision=15))
        print(json.dumps(networks | {"rows": rows, "notes": scores.notes}))
        return 0
    table = scores.table if options.reference else scores.table.drop(columns=["FID", "KID"])
    print(table.to_string(index=False, float_format="{:.4f}".format, na_rep="-"))
    features = f"; FID and KID in features of {options.features}" if options.reference else ""
    print(f"PPL in {options.distance}{features}", *scores.notes, sep="\n")
    return 0
