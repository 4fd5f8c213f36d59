"""`morph`: images that go from one to another."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.arguments import add_command, positive
from pipeline.core.stage import Progress

if TYPE_CHECKING:
    from pipeline.config import BaseModelSpec, MorphSettings

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
    parser = add_command(commands, "morph", make_morph, about, description=ABOUT)

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


def make_morph(options: argparse.Namespace) -> int:
    """Make a morph, write its folder, and print how well the endpoints were reconstructed."""
    from pipeline.diffusion.morph.morph_images import MorphOptions, morph_images

    wanted = MorphOptions(
        x=options.x,
        y=options.y,
        prompt_x=options.prompt_x or "",
        prompt_y=options.prompt_y or "",
        method=options.method,
        frames=options.frames,
        base_model=_base_model(options),
        settings=_settings(options),
    )
    try:
        with _progress_bar(quiet=options.quiet) as progress:
            report = morph_images(wanted, options.output, progress)
    except KeyboardInterrupt:
        print(f"\nstopped; nothing was written to {options.output}", file=sys.stderr)
        return 130
    print(json.dumps(report.about) if options.json else _summary(options, report.about))
    return 0


def _base_model(options: argparse.Namespace) -> "BaseModelSpec":
    from pipeline.config import NAMED_MODELS, BaseModelSpec
    from pipeline.core.errors import UserError

    if options.resolution is not None:
        return BaseModelSpec(name=options.base_model, resolution=options.resolution)
    if options.base_model not in NAMED_MODELS:
        raise UserError(f"--base-model {options.base_model}: state its resolution, such as --resolution 512")
    return BaseModelSpec(name=options.base_model)


def _settings(options: argparse.Namespace) -> "MorphSettings":
    """Check the options of fine-tuning and sampling; a UserError names the first that is wrong."""
    from pydantic import ValidationError

    from pipeline.config import MorphSettings
    from pipeline.core.errors import UserError

    flags = {
        "tune_steps": "steps",
        "learning_rate": "learning_rate",
        "rank": "rank",
        "steps": "sampling_steps",
        "seed": "seed",
    }
    values: dict[str, Any] = {field: getattr(options, flag) for field, flag in flags.items()}
    default_distance = "digits" if options.base_model == "mini" else "alex"
    try:
        return MorphSettings(**values, perceptual=options.distance or default_distance)
    except ValidationError as error:
        first = error.errors()[0]
        flag = flags[str(first["loc"][0])].replace("_", "-")
        raise UserError(f"--{flag} {first['input']}: {first['msg']}") from error


def _summary(options: argparse.Namespace, about: dict[str, Any]) -> str:
    from pipeline.diffusion.morph.output import ABOUT, GIF, STRIP

    lines = [f"{options.output}: {options.frames} frames by {options.method}, {STRIP}, {GIF}, {ABOUT}"]
    if "psnr" in about:
        (x, y), (most_x, most_y) = about["psnr"], about["psnr_of_autoencoder"]
        lines.append(
            f"X is reconstructed with a PSNR of {x:.1f} dB, Y with {y:.1f} (by the model's autoencoder alone: "
            f"{most_x:.1f} and {most_y:.1f})"
        )
    if about["resized_from"]:
        sides = " and ".join(map(str, about["resized_from"]))
        lines.append(
            f"X and Y were resized from {sides} to {about['base_model']['resolution']} pixels, the model's"
        )
    return "\n".join(lines)


@contextmanager
def _progress_bar(*, quiet: bool) -> Iterator[Progress]:
    """Show one bar on standard error from the first report on, for fine-tuning and then for the frames."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    bars = Bars(console=Console(stderr=True), disable=quiet, transient=True)
    task = bars.add_task("", total=None)
    with ExitStack() as stack:

        def progress(done: int, total: int, what: str) -> None:
            if not bars.live.is_started:
                stack.enter_context(bars)
            bars.update(task, completed=done, total=total, description=what)

        yield progress
