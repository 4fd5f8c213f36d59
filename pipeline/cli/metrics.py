"""The command `metrics`: score frames that anyone made."""

import argparse
import json
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, with_json
from pipeline.cli.terminal import say, say_json

ABOUT = """\
Score sequences of frames: those of `morph`, or any others. Prints a row for each method.

FOLDER holds frames whose names end in numbers (frame_000.png, frame_001.png, …), or folders of frames;
other images in it are ignored. The method is the one that about.json of `morph` names, else the folder's
name. Folders of one method are scored together.

  PPL             sum of the perceptual distances between neighbouring frames; lower is smoother
  PPL variation   standard deviation of these distances over their mean; 0 is an even pace
  FID, KID        with --reference: distance of all frames of a method from the images there; lower is nearer

Networks: `inception` (FID and KID as published), `alex`, `vgg`, `squeeze` (LPIPS, for PPL), `digits` (a
small network of this project for its 32x32 digits), any model of timm with weights from the hub, or
NAME=FILE with weights from a file; for PPL also `pixels`, which needs none. Weights that cannot be loaded
are an error.

The frames of a sequence have one size and one mode, and are never resized; scores of frames of different
sizes do not compare, and a note says so. The reference is a folder of images or of class folders; images
of another size than the frames are cropped to the frames' proportions and resized, with a note. FID is
left out where there are not more images than features; KID replaces it there.

examples:
  run_benchmark.py metrics out/ddim out/terra --distance digits
  run_benchmark.py metrics out/* --reference pictures/ --features resnet50=weights.safetensors"""


def add(commands: Any) -> None:
    """Add `metrics`."""
    about = "score frames: how smooth they are (PPL), and how near to images (FID, KID)"
    parser = add_command(commands, "metrics", show_metrics, about, description=ABOUT)
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="a folder of frames, or of folders of frames"
    )
    parser.add_argument(
        "--reference", type=Path, metavar="FOLDER", help="compare with these images, for FID and KID"
    )
    parser.add_argument(
        "--features",
        metavar="NETWORK",
        default="inception",
        help="network of FID and KID (default: %(default)s)",
    )
    parser.add_argument(
        "--distance", metavar="NETWORK", default="alex", help="network of PPL (default: %(default)s)"
    )
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
        say_json(networks | {"rows": rows, "notes": scores.notes})
        return 0
    table = scores.table if options.reference else scores.table.drop(columns=["FID", "KID"])
    say(table.to_string(index=False, float_format="{:.4f}".format, na_rep="-"))
    features = f"; FID and KID in features of {options.features}" if options.reference else ""
    say("\n".join([f"PPL in {options.distance}{features}", *scores.notes]))
    return 0
