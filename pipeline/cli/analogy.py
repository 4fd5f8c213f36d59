"""`analogy`: an image changed as an example shows."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.arguments import add_command, with_json

if TYPE_CHECKING:
    from pipeline.config import BaseModelSpec

ABOUT = """\
Change an image as an example shows: a : a' :: b : OUT. The adapter is a LoRWeB, a basis of LoRAs that was trained on
analogies between domains; it mixes one LoRA for this one. b is inverted to noise under the analogy that changes nothing
(a : a :: b), and denoised again under a : a' :: b; with an adapter that was trained in context (analogy.context: grid),
OUT is painted from noise into a 2x2 image of (the first) a and a' over b.

  run_benchmark.py analogy --a seven_mnist.png --a-prime seven_mnistm.png --b two_mnist.png --adapter KEY -o two.png
  run_benchmark.py analogy ... --a one_more.png --a-prime its_counterpart.png     several examples: their queries are
                                                                                  averaged, up to `examples` of the adapter
  run_benchmark.py analogy ... --prompt "a two" --guidance 3                      where you know what b shows
  run_benchmark.py analogy ... --lora two.safetensors    also write the LoRA of this analogy, for stock diffusers

Images of another size or mode than the base model's are converted, which is said: RGB, the middle square, resized."""

ADAPTER = """\
a LoRWeB: the key of a finished fine-tuning in the store (`plan --json` lists them), its folder, or an
adapter.safetensors"""


def add(commands: Any) -> None:
    """Adds `analogy`."""
    about = "change an image as an example pair shows, by a LoRWeB"
    parser = add_command(commands, "analogy", change_image, about, description=ABOUT)
    takes = parser.add_argument
    takes(
        "--a",
        type=Path,
        metavar="IMAGE",
        action="append",
        required=True,
        help="before; may be given more than once",
    )
    takes(
        "--a-prime", type=Path, metavar="IMAGE", action="append", required=True, help="after; as many as --a"
    )
    takes("--b", type=Path, metavar="IMAGE", required=True, help="what to change")
    takes("--adapter", metavar="KEY|FOLDER|FILE", required=True, help=ADAPTER)
    takes("-o", "--out", type=Path, metavar="FILE", required=True, help="what to write, named *.png")
    takes(
        "--prompt",
        metavar="TEXT",
        default="an image",
        help="what b shows (default: %(default)r, which says nothing)",
    )
    takes(
        "--guidance",
        type=float,
        metavar="W",
        default=1.0,
        help="weight of the prompt; 1 = none beyond the prompt itself (default: %(default)s)",
    )
    takes(
        "--content-scale",
        type=float,
        metavar="S",
        default=1.0,
        help="share of the adapter's update in the model that guides, as generate.adapted_guidance of a suite "
        "(default: %(default)s)",
    )
    takes(
        "--statistics",
        choices=["target", "own"],
        default=None,
        help="means and deviations of the noise that b becomes: those of a' (the first), or its own, which keep more of "
        "b's colours (default: target; not with analogy.context: grid)",
    )
    takes(
        "--seed",
        type=int,
        metavar="N",
        default=None,
        help="of the noise that OUT is painted from, with analogy.context: grid (default: 0)",
    )
    takes(
        "--scale",
        type=float,
        metavar="S",
        default=1.0,
        help="factor on the adapter's update (default: %(default)s)",
    )
    takes("--steps", type=int, metavar="N", default=25, help="DDIM steps each way (default: %(default)s)")
    takes(
        "--base-model",
        metavar="NAME",
        default=None,
        help="mini, sd15, sdxl, a folder or a hub id (default: the one that the artifact says, else mini)",
    )
    takes(
        "--resolution",
        type=int,
        metavar="PIXELS",
        default=None,
        help="of a base model that is a folder or a hub id",
    )
    takes(
        "--store",
        type=Path,
        metavar="FOLDER",
        default=None,
        help="where a KEY is looked up (default: $TERRABENCH_STORE, else results/store)",
    )
    takes(
        "--strip",
        type=Path,
        metavar="FILE",
        default=None,
        help="also write a, a', b and OUT side by side, enlarged",
    )
    takes(
        "--lora",
        type=Path,
        metavar="FILE",
        default=None,
        help="also write the LoRA of the analogy, *.safetensors",
    )
    with_json(parser)


def change_image(options: argparse.Namespace) -> int:
    """Change an image and write the files; print their names, and conversions on standard error."""
    from pipeline.config import Guidance
    from pipeline.core.store import write_atomic
    from pipeline.diffusion.generate import analogy
    from pipeline.diffusion.generate.images import to_png

    _check_suffixes(options)
    result = analogy.change_image(
        analogy.AnalogyOptions(
            a=options.a,
            a_prime=options.a_prime,
            b=options.b,
            adapter=options.adapter,
            store=options.store,
            base_model=_base_model(options),
            prompt=options.prompt,
            guidance=Guidance(weight=options.guidance, content_scale=options.content_scale),
            statistics=options.statistics,
            seed=options.seed,
            scale=options.scale,
            steps=options.steps,
        )
    )
    for note in result.notes:
        print(note, file=sys.stderr)
    write_atomic(options.out, to_png(result.image))
    written = {"out": str(options.out)}
    if options.strip is not None:
        write_atomic(options.strip, to_png(result.strip()))
        written["strip"] = str(options.strip)
    if options.lora is not None:
        result.save_lora(options.lora)
        written["lora"] = str(options.lora)
    print(json.dumps(written | {"converted": result.notes}) if options.json else "\n".join(written.values()))
    return 0


def _check_suffixes(options: argparse.Namespace) -> None:
    from pipeline.core.errors import UserError

    for path, suffix, flag in (
        (options.out, ".png", "-o"),
        (options.strip, ".png", "--strip"),
        (options.lora, ".safetensors", "--lora"),
    ):
        if path is not None and path.suffix != suffix:
            raise UserError(f"{flag} {path}: expected a name that ends in {suffix}")


def _base_model(options: argparse.Namespace) -> "BaseModelSpec | None":
    """Return the base model that the user names; None leaves the choice to the adapter's artifact."""
    from pipeline.config import BaseModelSpec
    from pipeline.core.errors import UserError

    if options.base_model is None:
        if options.resolution is not None:
            raise UserError("--resolution belongs to --base-model: name the base model too")
        return None
    if options.resolution is None:
        return BaseModelSpec(name=options.base_model)
    return BaseModelSpec(name=options.base_model, resolution=options.resolution)
