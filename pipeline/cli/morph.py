"""`morph`: images that go from one to another."""

import argparse
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, by, positive

METHODS = ("ddim", "lora_interp", "terra", "diffmorpher", "terra_diffmorpher")
"""Those of config.MorphMethod, of which a test knows; as of the defaults below that they are those of MorphSettings."""

ABOUT = """\
Make images that go from X to Y, by one of five methods:

  ddim               X and Y are inverted to noise, and noise and prompts interpolated; nothing is tuned
  lora_interp        also, a LoRA is tuned on each, and their weights interpolated
  terra              also, one Terra is tuned on X at t = 0 and Y at t = 1, and t goes from 0 to 1
  diffmorpher        lora_interp, with attention interpolated, statistics of latents matched, and frames placed anew, so
                     that neighbours are equally far apart (Zhang et al., CVPR 2024)
  terra_diffmorpher  the same with one Terra in the place of the two LoRAs

X and Y are image files, which the first and the last frame reconstruct; or two folders of images, each of one style or
one subject, which the prompts name: then frames start from one noise, and only weights and prompts change.

  run_benchmark.py morph seven.png three.png --prompt-x "a seven" --prompt-y "a three" --method terra -o out/terra
  run_benchmark.py morph cats/ dogs/ --prompt-x "a cat" --prompt-y "a dog" --base-model sdxl -o out/pets
  run_benchmark.py metrics out/*                   how smooth the results are

DIR then has frame_000.png, frame_001.png, …; strip.png, all of them in a row; morph.gif, there and back; and about.json,
which says how they were made and how well the ends came back (PSNR). It is written when all is made: Ctrl-C leaves
nothing behind.

exit codes: 0 made; 2 a mistake in the command or a file; 130 interrupted"""


def frame_count(text: str) -> int:
    """A whole number of at least 2, for argparse."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected at least 2 frames, the two ends, not {text!r}")
    return int(text)


def add(commands: Any) -> None:
    """Adds `morph`."""
    about = "make images that go from one image, style or subject to another"
    call = by("pipeline.diffusion.morph.command", "make")
    parser = add_command(commands, "morph", call, about, description=ABOUT)

    def takes(name: str, about: str, **options: Any) -> None:
        parser.add_argument(name, help=about, **options)

    takes("x", "an image, or a folder of images", type=Path, metavar="X")
    takes("y", "the same", type=Path, metavar="Y")
    takes("--prompt-x", "what X shows", metavar="TEXT")
    takes("--prompt-y", "what Y shows; may be the same", metavar="TEXT")
    takes("--method", "see above (default: %(default)s)", choices=METHODS, default="terra")
    takes("--frames", "with both ends (default: %(default)s)", type=frame_count, default=16, metavar="N")
    takes(
        "--base-model",
        "mini, sd15, sdxl, or a diffusers folder or hub id (default: %(default)s)",
        default="mini",
        metavar="MODEL",
    )
    takes("--resolution", "of MODEL, unless it is one of the three named", type=positive, metavar="PIXELS")
    takes("--steps", "of tuning (default: %(default)s)", type=positive, default=200, metavar="N")
    takes(
        "--learning-rate",
        "of tuning (default: %(default)s; mini likes 0.002)",
        type=float,
        default=2e-4,
        metavar="RATE",
    )
    takes("--rank", "of Terra and LoRAs (default: %(default)s)", type=positive, default=16, metavar="N")
    takes(
        "--sampling-steps",
        "DDIM steps (default: %(default)s)",
        type=positive,
        default=25,
        metavar="N",
    )
    takes(
        "--distance",
        "by which diffmorpher places frames, as in `metrics` (default: digits for mini, else alex)",
        metavar="NETWORK",
    )
    takes("--seed", "of tuning and noise (default: %(default)s)", type=int, default=0, metavar="N")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="a folder that is not there yet"
    )
    takes("--json", "print about.json on standard output", action="store_true")
    takes("--quiet", "no progress", action="store_true")
