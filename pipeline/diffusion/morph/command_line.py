"""The arguments of `morph`. Imports nothing that takes time."""

import argparse
from pathlib import Path
from typing import Any, get_args

from pipeline.config.morph import MorphMethod, MorphSettings

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


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text!r}")
    return int(text)


def frame_count(text: str) -> int:
    """A whole number of at least 2, for argparse."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected at least 2 frames, the two ends, not {text!r}")
    return int(text)


def add_parser(commands: Any) -> None:
    """Adds the command `morph` to those of the command line."""
    usual = MorphSettings()
    parser = commands.add_parser("morph", help="make images that go from one image, style or subject to another",
                                 description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip

    def add(name: str, about: str, **options: Any) -> None:
        parser.add_argument(name, help=about, **options)

    add("x", "an image, or a folder of images", type=Path, metavar="X")
    add("y", "the same", type=Path, metavar="Y")
    add("--prompt-x", "what X shows", metavar="TEXT")
    add("--prompt-y", "what Y shows; may be the same", metavar="TEXT")
    add("--method", "see above (default: %(default)s)", choices=get_args(MorphMethod), default="terra")
    add("--frames", "with both ends (default: %(default)s)", type=frame_count, default=16, metavar="N")
    add("--base-model", "mini, sd15, sdxl, or a diffusers folder or hub id (default: %(default)s)", default="mini",
        metavar="MODEL")  # fmt: skip
    add("--resolution", "of MODEL, unless it is one of the three named", type=positive, metavar="PIXELS")
    add("--steps", "of tuning (default: %(default)s)", type=positive, default=usual.tune_steps, metavar="N")
    add("--learning-rate", "of tuning (default: %(default)s; mini likes 0.002)", type=float,
        default=usual.learning_rate, metavar="RATE")  # fmt: skip
    add("--rank", "of Terra and LoRAs (default: %(default)s)", type=positive, default=usual.rank, metavar="N")
    add(
        "--sampling-steps",
        "DDIM steps (default: %(default)s)",
        type=positive,
        default=usual.steps,
        metavar="N",
    )
    add("--distance", "by which diffmorpher places frames, as in `metrics` (default: digits for mini, else alex)",
        metavar="NETWORK")  # fmt: skip
    add("--seed", "of tuning and noise (default: %(default)s)", type=int, default=usual.seed, metavar="N")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="a folder that is not there yet"
    )
    add("--json", "print about.json on standard output", action="store_true")
    add("--quiet", "no progress", action="store_true")
    parser.set_defaults(call=_call)


def _call(options: argparse.Namespace) -> int:
    from pipeline.diffusion.morph.command import make

    return make(options)
