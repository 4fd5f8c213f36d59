"""The command `predict`: classes of images by a classifier that a suite trained."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.arguments import add_command, with_json, with_plugins, with_quiet, with_store
from pipeline.cli.terminal import remark, say, say_json

if TYPE_CHECKING:
    from pandas import DataFrame

DETAILS = """\
The training must have kept its weights (train.keep_weights: true in the suite): those of the last iterate,
which the selection rule `last` reports, or their average under SWAD. Images are resized, cropped and
normalised as in the training's own evaluation, so that the test split of its target gives the accuracy of
the record.

The answer has a row for each image: its path as `image`, the most probable class as `predicted`, and the
probability of every class. A folder stands for all images in it and below.

examples:
  run_benchmark.py predict photo.jpg --from KEY             KEY: from the column `key` of records.csv
  run_benchmark.py predict photos/ --from KEY --to classes.csv
  run_benchmark.py predict photos/ --from results/store/artifacts/train/KEY --json

exit codes: 0 all images were read; 1 some were not, and are named; 2 a mistake in the command or a file"""

MOST_NAMED = 20
"""The most unreadable images that are named on the terminal; `--json` names all."""


def add(commands: Any) -> None:
    """Add `predict`."""
    about = "find the classes of images by a classifier that a suite trained"
    predict = add_command(commands, "predict", predict_images, about, DETAILS)
    predict.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE|FOLDER", help="images, or folders of them"
    )
    predict.add_argument(
        "--from",
        dest="training",
        required=True,
        metavar="KEY|FOLDER",
        help="the key of a finished training, or the folder of its artifact",
    )
    predict.add_argument(
        "--to", type=Path, metavar="FILE", help="a .csv or .json file to write (default: print CSV)"
    )
    with_store(predict, "where a KEY is looked up")
    with_plugins(predict)
    with_json(predict)
    with_quiet(predict)


def predict_images(options: argparse.Namespace) -> int:
    """Print or write the predictions; return 1 if an image could not be read."""
    from pipeline.classify.prediction import find_training, load_classifier
    from pipeline.config import store_folder
    from pipeline.core.errors import UserError
    from pipeline.core.store import write_atomic
    from pipeline.data.sources.scan import images_in
    from pipeline.execution.suite_plan import use_plugins
    from pipeline.report.progress_bar import drawing
    from pipeline.report.tables.csv_text import to_csv

    if options.to is not None and options.to.suffix not in (".csv", ".json"):
        raise UserError(f"--to {options.to}: expected a name that ends in .csv or .json")
    use_plugins(options.plugin)
    paths = [path for named in options.images for path in images_in(named)]
    classifier = load_classifier(find_training(options.training, store_folder(options.store)))
    with drawing(quiet=options.quiet, what="images") as progress:
        table, unreadable = classifier.predict_files(paths, progress)
    if table.empty:
        path, reason = next(iter(unreadable.items()))
        raise UserError(f"none of the {len(paths)} images can be read; {path}: {reason}")
    as_json = options.json if options.to is None else options.to.suffix == ".json"
    text = _as_json(table, unreadable) if as_json else to_csv(table)
    if options.to is None:
        say(text, end="")
    else:
        write_atomic(options.to, text)
        written = {"file": str(options.to), "images": len(table), "skipped": unreadable}
        if options.json:
            say_json(written)
        else:
            say(f"{options.to}: the classes of {len(table)} images")
    if unreadable:
        named = "".join(f"\n  {path}: {reason}" for path, reason in list(unreadable.items())[:MOST_NAMED])
        more = "\n  …" * (len(unreadable) > MOST_NAMED)
        remark(f"skipped {len(unreadable)} of {len(paths)} images, which cannot be read:{named}{more}")
    return int(bool(unreadable))


def _as_json(table: "DataFrame", unreadable: dict[str, str]) -> str:
    """Return the predictions and the skipped images as JSON."""
    classes = list(table.columns[2:])
    rows = [
        {"image": image, "predicted": predicted, "probabilities": dict(zip(classes, shares, strict=True))}
        for image, predicted, *shares in table.itertuples(index=False, name=None)
    ]
    return json.dumps({"images": rows, "skipped": unreadable}, ensure_ascii=False) + "\n"
