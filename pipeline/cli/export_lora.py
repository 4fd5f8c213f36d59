"""The command `export-lora`: write an adapter at one t as a LoRA for stock diffusers."""

import argparse
import warnings
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, with_json, with_store
from pipeline.cli.terminal import remark, say, say_json

DETAILS = """\
A Terra is another LoRA at each t: at t = 0 that of the source domain, at t = 1 that of the target, in
between a blend, and beyond an exaggeration. Stock diffusers loads the file and renders what Terra renders
at that t. No base model is loaded. A warning says if K(t) of a layer is singular at that t.

examples:
  run_benchmark.py export-lora KEY --t 0.5 --to half.safetensors
  pipe.load_lora_weights("half.safetensors")   # Python; pipe: the base model that was fine-tuned"""


def time_point(text: str) -> list[float]:
    """Parse numbers between commas, for argparse."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected a number, or several as in 0.5,-1, not {text!r}"
        ) from error


def add(commands: Any) -> None:
    """Add `export-lora`."""
    about = "write an adapter at one t as a standard LoRA"
    export = add_command(commands, "export-lora", export_adapter, about, DETAILS)
    export.add_argument(
        "adapter",
        metavar="KEY|FOLDER|FILE",
        help="the key of a finished fine-tuning (`plan --json` lists keys), its folder, an "
        "adapter.safetensors, or the two LoRAs of a pair under dg",
    )
    export.add_argument(
        "--t",
        type=time_point,
        metavar="T",
        help="the time: a number such as 0.5, or as many as t has dimensions, such as 0.5,-1 (write "
        "--t=-1,0.5 if the first is negative); a plain LoRA takes none",
    )
    export.add_argument(
        "--to", type=Path, metavar="FILE", required=True, help="the *.safetensors file to write"
    )
    export.add_argument(
        "--scale",
        type=float,
        metavar="S",
        default=1.0,
        help="factor on the update, like generate.scale of a suite (default: %(default)s)",
    )
    with_store(export, "where a KEY is looked up")
    with_json(export)


def export_adapter(options: argparse.Namespace) -> int:
    """Write the LoRA, and print its file and size."""
    from pipeline.config import store_folder
    from pipeline.diffusion.adapters.export import export_lora

    store = store_folder(options.store)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written = export_lora(options.adapter, options.to, options.t, options.scale, store)
    for warning in caught:
        remark(f"warning: {warning.message}")
    if options.json:
        say_json(written | {"warnings": [str(warning.message) for warning in caught]})
    else:
        say(f"{written['file']}: a LoRA of rank {written['rank']} on {written['layers']} layers")
    return 0
