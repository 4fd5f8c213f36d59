"""The command `analogy`: change an image as an example pair shows."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.arguments import add_command, with_json, with_store
from pipeline.cli.terminal import remark, say, say_json

if TYPE_CHECKING:
    from pipeline.config import BaseModelSpec

ABOUT = """\
Change an image as an example pair shows: a is to a' as b is to OUT.

The adapter is a LoRWeB: a basis of LoRAs that was trained on analogies between domains, and that mixes
one LoRA for each analogy. b is inverted to noise under the analogy a : a, which changes nothing, and
denoised under a : a'. An adapter that was trained in context (analogy.context: grid) paints OUT from
noise into a 2x2 grid with a, a' and b; it uses the first pair alone.

Images of another size or mode than the base model's are converted with a warning: to RGB, cropped to the
middle square, and resized.

examples:
  run_benchmark.py analogy --a seven.png --a-prime seven_mnistm.png --b two.png --adapter KEY -o out.png
  run_benchmark.py analogy ... --a A2.png --a-prime A2_prime.png   average several pairs
  run_benchmark.py analogy ... --prompt "a two" --guidance 3       if you know what b shows
  run_benchmark.py analogy ... --lora two.safetensors              also write this analogy's LoRA"""


def add(commands: Any) -> None:
    """Add `analogy`."""
    parser = add_command(
        commands,
        "analogy",
        change_image,
        "change an image as an example pair shows, with a LoRWeB",
        description=ABOUT,
    )
    _add_images(parser.add_argument_group("images"))
    _add_model(parser.add_argument_group("adapter and base model"))
    _add_sampling(parser.add_argument_group("sampling"))
    with_json(parser)


def _add_images(group: Any) -> None:
    """Add the images that are read and written."""
    group.add_argument(
        "--a",
        type=Path,
        metavar="IMAGE",
        action="append",
        required=True,
        help="before; may be given several times",
    )
    group.add_argument(
        "--a-prime", type=Path, metavar="IMAGE", action="append", required=True, help="after; as many as --a"
    )
    group.add_argument("--b", type=Path, metavar="IMAGE", required=True, help="the image to change")
    group.add_argument("-o", "--out", type=Path, metavar="FILE", required=True, help="the PNG file to write")
    group.add_argument(
        "--strip", type=Path, metavar="FILE", help="also write a, a', b and OUT side by side, enlarged"
    )
    group.add_argument(
        "--lora", type=Path, metavar="FILE", help="also write this analogy's LoRA (*.safetensors)"
    )


def _add_model(group: Any) -> None:
    """Add what the image is changed with."""
    group.add_argument(
        "--adapter",
        metavar="KEY|FOLDER|FILE",
        required=True,
        help="a LoRWeB: the key of a finished fine-tuning (`plan --json` lists keys), its folder, or an "
        "adapter.safetensors",
    )
    group.add_argument(
        "--base-model",
        metavar="NAME",
        help="mini, sd15, sdxl, a folder or a hub id (default: the one that the artifact names, else mini)",
    )
    group.add_argument(
        "--resolution",
        type=int,
        metavar="PIXELS",
        help="resolution of a base model that is a folder or a hub id",
    )
    group.add_argument(
        "--scale",
        type=float,
        metavar="S",
        default=1.0,
        help="factor on the adapter's update (default: %(default)s)",
    )
    with_store(group, "where a KEY is looked up")


def _add_sampling(group: Any) -> None:
    """Add how the image is sampled."""
    group.add_argument(
        "--prompt",
        metavar="TEXT",
        default="an image",
        help="what b shows (default: %(default)r, which says nothing)",
    )
    group.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        default=1.0,
        help="guidance scale of the prompt; 1 turns guidance off (default: %(default)s)",
    )
    group.add_argument(
        "--content-scale",
        type=float,
        metavar="S",
        default=1.0,
        help="share of the adapter's update in the denoiser that guides, like generate.adapted_guidance of a "
        "suite (default: %(default)s)",
    )
    group.add_argument(
        "--statistics",
        choices=["target", "own"],
        help="channel statistics of the noise that b is inverted to: those of the (first) a', or its own, "
        "which keep more of b's colours (default: target; not with analogy.context: grid)",
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="seed of the noise, with analogy.context: grid (default: 0)"
    )
    group.add_argument(
        "--steps",
        type=int,
        metavar="N",
        default=25,
        help="DDIM steps in each direction (default: %(default)s)",
    )


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
        remark(note)
    write_atomic(options.out, to_png(result.image))
    written = {"out": str(options.out)}
    if options.strip is not None:
        write_atomic(options.strip, to_png(result.strip()))
        written["strip"] = str(options.strip)
    if options.lora is not None:
        result.save_lora(options.lora)
        written["lora"] = str(options.lora)
    if options.json:
        say_json(written | {"converted": result.notes})
    else:
        say("\n".join(written.values()))
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
