"""`analogy`: an image changed as an example shows."""

from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, by, with_json

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
    about, call = (
        "change an image as an example pair shows, by a LoRWeB",
        by("pipeline.diffusion.generate.analogy", "carry_out"),
    )
    parser = add_command(commands, "analogy", call, about, description=ABOUT)
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
