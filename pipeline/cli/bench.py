"""`bench`: measurements, of a suite's images or of the speed of this code."""

import argparse
import importlib
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.arguments import add_command, positive, with_json, with_quiet, with_suite
from pipeline.cli.suite_loading import open_suite
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.core.store import Store
    from pipeline.planning.graph import Plan

IMAGES = """\
Train an ERM classifier on each target's own labels (for this check alone), and print the share
of made images that it recognises as their class, and the Frechet distance, in its features, of each set
of images to the target's."""

AUGMENTATIONS = """\
A row for each task and augmentation of a suite that was run: accuracy of each method, learned numbers of
the adapter, seconds to train it and to make its images, and the Frechet distance of each set of images to the
target's, in the features of a classifier that learned the target's labels for this check alone. `held_out`
is yes where a LoRWeB had no analogy of that target. Written to tables/augmentations.csv and .md of the results."""

CLASSIFY = """\
Measure stage three beside plain code that does the same, taking turns, and print the ratios
(medians). Other work on this machine slows both sides alike. About a minute; needs no suite.

  loop     the time of a training step over that of a bare loop with the same network, loss and batches
  inputs   images a second from JPEG files of about 300x300 (resize to 256, random resized crop to 224,
           flip, normalise), once all are in the cache, over torchvision's ImageFolder and DataLoader
  pixels   how far the same crops of both differ, of 255, on average"""

REPORT = """\
Make up records and features, and print how long it takes to write what a researcher looks at.
A minute or two; needs no suite.

  report   from 5,184 records to the tables, statistics and page of a suite, without pictures
  t-SNE    of 5,000 features of 256 dimensions, twice, and whether both have the same bytes"""

ADAPTERS = """\
Measure Terra on the mini model, the sides taking turns in one run, and print the ratios
(medians). Other work on this machine slows all sides alike. A few minutes; needs no suite.

  train       the time of a training step over that of peft's LoRA, of the same rank and layers
  merged      the time of the denoiser with Terra merged at one t over that of the base model
  per_sample  the time of the denoiser with a t for each sample over that with one t for all
  parameters  learned numbers more than the LoRA's, for each layer and dimension of t"""

DATA = """\
Write small JPEG files in VisDA's layout, import them and prepare them, each in a process of its own,
and print images a second and the most memory that was in use (aim: under 1 GiB for 100,000 images)."""

EXECUTION = """\
Measure the machinery around the work, and print its cost. About three minutes; needs no suite. Other
work on this machine spoils it.

  store     milliseconds that the store takes for one finished job, beside 10,000 artifacts
  finished  seconds of `run` and `plan` on a suite of 505 jobs, all of them finished
  ray       how many times as fast trainings of about two seconds are on two Ray workers as on one"""


@dataclass(frozen=True)
class Count:
    """A number that a measurement takes."""

    name: str
    default: int
    about: str


@dataclass(frozen=True)
class Speed:
    """A measurement that needs no suite: the module `of` has `measure`, of `count` and of what says how far it is, and
    `described`.
    """

    name: str
    of: str
    about: str
    more: str
    count: Count | None = None


SPEEDS = (
    Speed(
        "classify",
        "pipeline.bench.classify",
        "how fast training reads images, and what its loop costs",
        CLASSIFY,
        Count("workers", 1, "threads that read images, and processes of the DataLoader"),
    ),
    Speed("report", "pipeline.bench.report", "how long tables, page and t-SNE take", REPORT),
    Speed(
        "adapters",
        "pipeline.bench.adapters",
        "what Terra costs beside a LoRA and the base model",
        ADAPTERS,
        Count("turns", 15, "how often each side is timed"),
    ),
    Speed(
        "data",
        "pipeline.bench.data",
        "how fast images are prepared, and in how much memory",
        DATA,
        Count("images", 10_000, "how many"),
    ),
    Speed(
        "execution",
        "pipeline.bench.execution",
        "what the store, a finished suite and a Ray cluster cost",
        EXECUTION,
    ),
)


def add(commands: Any) -> None:
    """Adds `bench`."""
    bench = commands.add_parser(
        "bench", help="measure: images, and the speed of training, adapters and reports"
    )
    benches = bench.add_subparsers(dest="bench", required=True, metavar="WHAT")

    about = "how good a suite's made images are"
    with_suite(add_command(benches, "images", bench_images, about, description=IMAGES))
    about = "what each adapter of a suite costs and gives"
    with_suite(add_command(benches, "augmentations", bench_augmentations, about, description=AUGMENTATIONS))
    for speed in SPEEDS:
        call = partial(bench_speed, speed)
        sub = add_command(benches, speed.name, call, speed.about, description=speed.more)
        if speed.count is not None:
            sub.add_argument(
                f"--{speed.count.name}",
                type=positive,
                metavar="N",
                default=speed.count.default,
                help=f"{speed.count.about} (default: %(default)s)",
            )
        with_json(sub)
        with_quiet(sub)


def bench_speed(speed: Speed, options: argparse.Namespace) -> int:
    """Every `bench` that needs no suite."""
    measuring = importlib.import_module(speed.of)

    def say(text: str) -> None:
        if not options.quiet:
            print(text, file=sys.stderr)

    counts = () if speed.count is None else (getattr(options, speed.count.name),)
    measured = measuring.measure(*counts, say)
    print(json.dumps(measured) if options.json else measuring.described(measured))
    return 0


def open_built_suite(options: argparse.Namespace) -> "tuple[Plan, Store, Path]":
    """As open_suite; UserError unless its data set is made here, so that the target's labels may be looked at."""
    from pipeline.config import FolderCard

    plan, store, folder = open_suite(options)
    if isinstance(plan.card, FolderCard):
        raise UserError(
            f"bench {options.bench} is for data sets that are made here, such as digits, not for {plan.card.name}"
        )
    return plan, store, folder


def bench_images(options: argparse.Namespace) -> int:
    """`bench images`."""
    import pandas as pd

    from pipeline.classify.evaluation.image_quality import assess
    from pipeline.report.collect import artifact

    plan, store, _ = open_built_suite(options)
    tables = []
    for task, jobs in plan.tasks.items():
        made = {
            name if adapter == "terra" else f"{adapter} {name}": job
            for adapter, its in jobs.adapters.items()
            for name, job in its.made.items()
        }
        made["base"] = plan.base
        sets = {name: folder for name, job in made.items() if (folder := artifact(job, store))}
        data = artifact(plan.data, store)
        if data is None or not sets:
            print(f"{task}: nothing is generated yet; run the suite first", file=sys.stderr)
            continue
        table = assess(data, jobs.target, sets, jobs.sources, seed=0)
        table.insert(0, "task", task)
        tables.append(table)
    if not tables:
        return 1
    whole = pd.concat(tables, ignore_index=True)
    print(whole.to_json(orient="records") if options.json else whole.round(2).to_string(index=False))
    return 0


def bench_augmentations(options: argparse.Namespace) -> int:
    """`bench augmentations`."""
    from pipeline.bench import augmentations
    from pipeline.core.store import write_atomic

    plan, store, folder = open_built_suite(options)
    table = augmentations.compare(plan, store)
    if table.empty:
        print(f"nothing of {plan.suite.name} is made yet; run the suite first", file=sys.stderr)
        return 1
    write_atomic(folder / "tables" / "augmentations.csv", table.to_csv(index=False, float_format="%.4g"))
    write_atomic(folder / "tables" / "augmentations.md", augmentations.as_markdown(table))
    print(augmentations.as_json(table) if options.json else table.round(2).to_string(index=False, na_rep=""))
    return 0
