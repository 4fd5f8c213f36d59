"""The command `export-classifier`: a trained classifier for other programs."""

import argparse
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command, with_json, with_plugins, with_store
from pipeline.cli.terminal import say, say_json

DETAILS = """\
The folder holds config.json with the architecture, the preparation of images and the names of the classes,
model.safetensors, and a README.md with the lines of Python that use them. If the classifier is a backbone and
a linear layer, timm loads it whole. If it has a bottleneck or a head of the method's own, timm loads the
backbone, and head.safetensors holds the layers after it.

The training must have kept its weights (train.keep_weights: true in the suite).

examples:
  run_benchmark.py export-classifier KEY --to classifier      KEY: from the column `key` of records.csv
  timm.create_model("local-dir:classifier", pretrained=True)  # Python"""


def add(commands: Any) -> None:
    """Add `export-classifier`."""
    about = "write a trained classifier as a folder that timm loads"
    export = add_command(commands, "export-classifier", export_trained, about, DETAILS)
    export.add_argument(
        "training",
        metavar="KEY|FOLDER",
        help="the key of a finished training, or the folder of its artifact",
    )
    export.add_argument("--to", type=Path, metavar="FOLDER", required=True, help="the folder to make")
    with_store(export, "where a KEY is looked up")
    with_plugins(export)
    with_json(export)


def export_trained(options: argparse.Namespace) -> int:
    """Write the folder, and print what timm loads of it."""
    from pipeline.classify.export import export_classifier
    from pipeline.classify.prediction import find_training, load_classifier
    from pipeline.config import store_folder
    from pipeline.execution.suite_plan import use_plugins

    use_plugins(options.plugin)
    classifier = load_classifier(find_training(options.training, store_folder(options.store)))
    written = export_classifier(classifier, options.to)
    if options.json:
        say_json({"folder": str(written.folder), "whole": written.whole})
    else:
        loads = "the classifier" if written.whole else "the backbone; the layers after it are beside it"
        say(f"{written.folder}: timm loads {loads} (see README.md there)")
    return 0
