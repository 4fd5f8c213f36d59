"""`metrics`: scores of frames that anyone made."""

from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, by, with_json

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

Sizes and modes have to agree, for nothing is resized but by inception itself, to 299x299. Where there are not more
images than features, FID is left out and KID stands for it."""


def add(commands: Any) -> None:
    """Adds `metrics`."""
    about = "score frames: how smooth (PPL), and how near to images (FID, KID)"
    call = by("pipeline.metrics.command", "show_metrics")
    parser = add_command(commands, "metrics", call, about, description=ABOUT)
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
