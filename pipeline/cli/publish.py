"""The command `publish-images`: made images as a dataset for others."""

import argparse
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, with_json, with_store
from pipeline.cli.terminal import say, say_json

DETAILS = """\
The folder holds the images in folders of their classes, which torchvision's ImageFolder reads, and
metadata.csv with the prompt, the seed and t of each; or, with --parquet, one Parquet file in the form of the
Hugging Face hub. A README.md names base model, dataset, licences, prompts and settings.

examples:
  run_benchmark.py publish-images KEY --to made              KEY: from `plan --json`
  run_benchmark.py publish-images KEY --to made --parquet"""


def add(commands: Any) -> None:
    """Add `publish-images`."""
    about = "write made images as a dataset for others"
    command = add_command(commands, "publish-images", publish_images, about, DETAILS)
    command.add_argument(
        "images", metavar="KEY|FOLDER", help="the key of a finished job that made images, or its artifact"
    )
    command.add_argument("--to", type=Path, metavar="FOLDER", required=True, help="the folder to make")
    command.add_argument("--parquet", action="store_true", help="write Parquet, and not folders of classes")
    with_store(command, "where a KEY is looked up")
    with_json(command)


def publish_images(options: argparse.Namespace) -> int:
    """Write the dataset, and print its folder and size."""
    from pipeline.config import store_folder
    from pipeline.data.publishing import find_made_set, publish

    made = find_made_set(options.images, store_folder(options.store))
    count = publish(made, options.to, options.parquet)
    if options.json:
        say_json({"folder": str(options.to), "images": count, "classes": made.classes})
    else:
        say(f"{options.to}: {count:,} images of {len(made.classes)} classes")
    return 0
