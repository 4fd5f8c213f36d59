"""The command `bench`: measure a suite's images, or the speed of this code."""

import argparse
import importlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.arguments import add_command, positive, with_json, with_quiet, with_suite
from pipeline.cli.suite_loading import open_training_suite
from pipeline.cli.terminal import remark, say, say_dumped, say_json
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.core.store import Store
    from pipeline.planning.trainings import TrainingPlan

IMAGES = """\
Measure how good the made images of a suite are.

Trains an ERM classifier on each target's own labels, for this check alone, and prints for each set of
images the share that the classifier recognises as their class, and the Fréchet distance to the target's
images in the classifier's features. Only for datasets that are built here, such as digits.

example: run_benchmark.py bench images benchmarks/digits_demo.yaml"""

AUGMENTATIONS = """\
Compare what each adapter of a suite costs and gives, after the suite was run.

Prints a row for each task and augmentation: the accuracy of each method, the adapter's learned
parameters, the seconds to train it and to make its images, and the Fréchet distance of each set of images
to the target's, in the features of a classifier that learned the target's labels for this check alone.
`held_out` is yes where a LoRWeB had no analogy of that target. Also writes tables/augmentations.csv and
.md. Only for datasets that are built here.

example: run_benchmark.py bench augmentations digits_adapters"""

CLASSIFY = """\
Measure stage three beside plain code that does the same. Takes two minutes.

The two sides take turns; medians of their ratios are printed. Other work on this machine slows both sides
alike.

  loop     seconds of a training step, over a bare loop with the same network, loss and batches
  uda      images per second from JPEG files of about 300x300, once all are cached, over torchvision's
           ImageFolder and DataLoader, and how far the pixels of both are apart: the transforms of the
           transfer-learning library (to 256, random resized crop to 224, flip, normalise)
  dg       the same with those of DomainBed (random resized crop, flip, colour jitter, grey, normalise)

example: run_benchmark.py bench classify"""

REPORT = """\
Measure how long tables, page and t-SNE take, with made-up records and features. Takes a minute or two.

  report   seconds from 5,184 records to the tables, statistics and page of a suite, without figures
  t-SNE    seconds for 5,000 features of 256 dimensions, twice, and whether both give the same bytes

example: run_benchmark.py bench report"""

ADAPTERS = """\
Measure Terra on the mini model beside a LoRA and the base model. Takes a few minutes.

The sides take turns; medians of their ratios are printed. Other work on this machine slows all sides
alike.

  train       seconds of a training step, over peft's LoRA of the same rank and layers
  merged      seconds of the denoiser with Terra merged at one t, over the base model
  per_sample  seconds of the denoiser with a t for each sample, over one t for all
  parameters  learned parameters beyond the LoRA's, for each layer and dimension of t

example: run_benchmark.py bench adapters"""

DATA = """\
Measure how fast images are imported and prepared, and in how much memory.

Writes small JPEG files in VisDA's layout, imports and prepares them, each in a process of its own, and
prints images per second and the peak memory (aim: under 1 GiB for 100,000 images).

example: run_benchmark.py bench data"""

EXECUTION = """\
Measure what the machinery around the work costs. Takes about three minutes; other work on this machine
spoils it.

  store     milliseconds of the store for one finished job, beside 10,000 artifacts
  finished  seconds of `run` and `plan` on a suite of 505 jobs that are all finished
  ray       speed-up of trainings of about two seconds on two Ray workers over one

example: run_benchmark.py bench execution"""

GPU = """\
Measure the speed of this machine's GPU at what jobs compute, for the hours that `plan` prints.

Builds SDXL, SD 1.5, ResNet-50, ResNet-101 and ViT-B/16 with random weights; nothing is downloaded. Without a
GPU it says so, and measures the small models on one CPU core.

  denoise   a pass of the denoiser, of which sampling and inversion consist
  encode    and decode: passes of the VAE
  finetune  a training step of stage one, with gradient checkpointing and without
  train     a training step of stage three

examples:
  run_benchmark.py bench gpu
  run_benchmark.py bench gpu --json > results/rates/nvidia-l4.json    where `plan` finds it"""


@dataclass(frozen=True)
class Count:
    """An option with a number."""

    name: str
    default: int
    about: str


@dataclass(frozen=True)
class Speed:
    """A measurement that needs no suite.

    Attributes:
        name: The name of the command.
        module: Has `measure`, which takes the number of `count` and a function for messages, and `described`.
        about: One line of help.
        details: The command's own help.
        count: An option.
    """

    name: str
    module: str
    about: str
    details: str
    count: Count | None = None


SPEEDS = (
    Speed(
        "classify",
        "pipeline.bench.classify",
        "measure how fast training reads images, and what its loop costs",
        CLASSIFY,
        Count("workers", 1, "threads that read images, and processes of the DataLoader"),
    ),
    Speed("report", "pipeline.bench.report", "measure how long tables, page and t-SNE take", REPORT),
    Speed(
        "adapters",
        "pipeline.bench.adapters",
        "measure what Terra costs beside a LoRA and the base model",
        ADAPTERS,
        Count("turns", 15, "how often each side is timed"),
    ),
    Speed(
        "gpu",
        "pipeline.bench.gpu",
        "measure the speed of a GPU at each stage, for `plan`",
        GPU,
        Count("turns", 5, "how often each step is timed"),
    ),
    Speed(
        "data",
        "pipeline.bench.data",
        "measure how fast images are prepared, and in how much memory",
        DATA,
        Count("images", 10_000, "the number of images"),
    ),
    Speed(
        "execution",
        "pipeline.bench.execution",
        "measure what the store, a finished suite and a Ray cluster cost",
        EXECUTION,
    ),
)


def add(commands: Any) -> None:
    """Add `bench`."""
    about = "measure made images, and the speed of training, adapters and reports"
    bench = commands.add_parser(
        "bench",
        help=about,
        description=f"{about.capitalize()}.\n\nexample: run_benchmark.py bench images digits",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    benches = bench.add_subparsers(dest="bench", required=True, metavar="WHAT")

    about = "measure how good a suite's made images are"
    with_suite(add_command(benches, "images", bench_images, about, description=IMAGES))
    about = "compare what each adapter of a suite costs and gives"
    with_suite(add_command(benches, "augmentations", bench_augmentations, about, description=AUGMENTATIONS))
    for speed in SPEEDS:
        call = partial(bench_speed, speed)
        sub = add_command(benches, speed.name, call, speed.about, description=speed.details)
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
    """Measure, and print the numbers."""
    module = importlib.import_module(speed.module)

    def log(text: str) -> None:
        if not options.quiet:
            remark(text)

    counts = () if speed.count is None else (getattr(options, speed.count.name),)
    measured = module.measure(*counts, log)
    if options.json:
        say_json(measured)
    else:
        say(module.described(measured))
    return 0


def open_built_suite(options: argparse.Namespace) -> "tuple[TrainingPlan, Store, Path]":
    """Open a suite whose dataset is built here, so that the target's labels may be used.

    Raises:
        UserError: The dataset consists of files.
    """
    from pipeline.config import FolderCard

    plan, store, folder = open_training_suite(options)
    if isinstance(plan.card, FolderCard):
        raise UserError(
            f"bench {options.bench} is for datasets that are built here, such as digits, "
            f"not for {plan.card.name}"
        )
    return plan, store, folder


def bench_images(options: argparse.Namespace) -> int:
    """Print the quality of the made images of each task."""
    from pipeline.bench import images

    plan, store, _ = open_built_suite(options)
    table = images.measure(plan, store, remark)
    if table.empty:
        return 1
    if options.json:
        say_dumped(table.to_json(orient="records"))
    else:
        say(table.round(2).to_string(index=False))
    return 0


def bench_augmentations(options: argparse.Namespace) -> int:
    """Print and write the comparison of a suite's augmentations."""
    from pipeline.bench import augmentations

    plan, store, folder = open_built_suite(options)
    table = augmentations.compare(plan, store)
    if table.empty:
        remark(f"nothing of {plan.suite.name} is finished yet; run the suite first")
        return 1
    augmentations.write(table, folder)
    if options.json:
        say_dumped(augmentations.as_json(table))
    else:
        say(table.round(2).to_string(index=False, na_rep=""))
    return 0
