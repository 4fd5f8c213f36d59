"""The command `morph`: make images that go from one to another."""

import argparse
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, by, positive

METHODS = ("ddim", "lora_interp", "terra", "diffmorpher", "terra_diffmorpher")
"""The values of config.MorphMethod. A test checks them, and the defaults below against MorphSettings."""

ABOUT = """\
Make images that go from X to Y, by one of five methods:

  ddim               invert X and Y to noise, and interpolate noise and prompts; nothing is fine-tuned
  lora_interp        fine-tune a LoRA on each image, and interpolate the weights too
  terra              fine-tune one Terra on X at t = 0 and Y at t = 1, and let t go from 0 to 1
  diffmorpher        lora_interp with interpolated attention, matched channel statistics of latents, and
                     frames placed anew so that neighbours are equally far apart (Zhang et al., CVPR 2024)
  terra_diffmorpher  the same with one Terra in place of the two LoRAs

X and Y are image files, which the first and the last frame reconstruct. They may also be two folders of
images, each of one style or one subject that its prompt names; all frames then start from one noise, and
only weights and prompts change.

DIR will hold frame_000.png, frame_001.png, …; strip.png, all frames in a row; morph.gif, forth and back;
and about.json with the settings and the reconstruction of the ends (PSNR). It is written when everything
is finished: Ctrl-C leaves nothing behind.

examples:
  run_benchmark.py morph seven.png three.png --prompt-x "a seven" --prompt-y "a three" -o out/terra
  run_benchmark.py morph cats/ dogs/ --prompt-x "a cat" --prompt-y "a dog" --base-model sdxl -o out/pets
  run_benchmark.py metrics out/*                   score the results

exit codes: 0 finished; 2 a mistake in the command or a file; 130 interrupted"""


def frame_count(text: str) -> int:
    """Parse a whole number of at least 2, for argparse."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected at least 2 frames, the two ends, not {text!r}")
    return int(text)


def add(commands: Any) -> None:
    """Add `morph`."""
    about = "make images that go from one image, style or subject to another"
    call = by("pipeline.diffusion.morph.command", "make")
    parser = add_command(commands, "morph", call, about, description=ABOUT)

    def takes(name: str, about: str, **options: Any) -> None:
        parser.add_argument(name, help=about, **options)

    takes("x", "an image, or a folder of images", type=Path, metavar="X")
    takes("y", "an image, or a folder of images", type=Path, metavar="Y")
    takes("--prompt-x", "what X shows", metavar="TEXT")
    takes("--prompt-y", "what Y shows; may equal --prompt-x", metavar="TEXT")
    takes("--method", "one of the methods above (default: %(default)s)", choices=METHODS, default="terra")
    takes(
        "--frames",
        "number of frames, with both ends (default: %(default)s)",
        type=frame_count,
        default=16,
        metavar="N",
    )
    takes(
        "--base-model",
        "mini, sd15, sdxl, or a diffusers folder or hub id (default: %(default)s)",
        default="mini",
        metavar="MODEL",
    )
    takes(
        "--resolution", "resolution of MODEL, if it is a folder or a hub id", type=positive, metavar="PIXELS"
    )
    takes("--steps", "steps of fine-tuning (default: %(default)s)", type=positive, default=200, metavar="N")
    takes(
        "--learning-rate",
        "learning rate of fine-tuning (default: %(default)s; try 0.002 with mini)",
        type=float,
        default=2e-4,
        metavar="RATE",
    )
    takes("--rank", "rank of Terra and LoRAs (default: %(default)s)", type=positive, default=16, metavar="N")
    takes(
        "--sampling-steps",
        "DDIM steps (default: %(default)s)",
        type=positive,
        default=25,
        metavar="N",
    )
    takes(
        "--distance",
        "distance by which diffmorpher places frames, as in `metrics` (default: digits for mini, else alex)",
        metavar="NETWORK",
    )
    takes("--seed", "seed of fine-tuning and noise (default: %(default)s)", type=int, default=0, metavar="N")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder to write, which must not exist",
    )
    takes("--json", "print about.json on standard output", action="store_true")
    takes("--quiet", "show no progress", action="store_true")
