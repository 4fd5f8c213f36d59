"""The command `morph`: make images that go from one to another."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.arguments import add_command, positive
from pipeline.cli.terminal import remark, say, say_json
from pipeline.core.stage import Progress

if TYPE_CHECKING:
    from pipeline.config import BaseModelSpec, MorphSettings

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
    parser = add_command(commands, "morph", make_morph, about, description=ABOUT)

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
    takes("--sampling-steps", "DDIM steps (default: %(default)s)", type=positive, default=25, metavar="N")
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
        remark(f"\nstopped; nothing was written to {options.output}")
        return 130
    if options.json:
        say_json(report.about)
    else:
        say(_summary(options, report.about))
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
            f"X is reconstructed with a PSNR of {x:.1f} dB, Y with {y:.1f} (by the autoencoder of the model "
            f"alone: {most_x:.1f} and {most_y:.1f})"
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
