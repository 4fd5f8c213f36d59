"""The command line. Each command imports what it needs when it runs, so that --help answers at once."""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data import command_line as data_commands
from pipeline.diffusion import command_line as analogy_command
from pipeline.diffusion.morph import command_line as morph_command
from pipeline.errors import UserError
from pipeline.metrics import command_line as metrics_command

if TYPE_CHECKING:
    from pandas import DataFrame

    from pipeline.execution.walk import Capacity, Outcome, Walker
    from pipeline.morph_plan import MorphPlan
    from pipeline.plan import Job, Plan
    from pipeline.report.drawn import Drawn
    from pipeline.store import Store

ABOUT = """\
Benchmarks of domain adaptation by generated images, in three stages: fine-tune a time-varying low-rank adapter
(Terra) between two domains, generate images with it, train the field's classifiers with and without them.

A suite (a YAML under benchmarks/) says what to compare. It becomes a graph of jobs; the product of each is stored
once under the hash of what made it. Stop a run whenever you like: the same command goes on where it was."""

EXAMPLES = """\
examples:
  run_benchmark.py plan benchmarks/digits_demo.yaml      what would be made, and what is there already
  run_benchmark.py run benchmarks/digits_demo.yaml       make it, then print the table
  run_benchmark.py run digits --only 'task=MN->MM,method=MCC' --executor ray    a part of it, on a Ray cluster
  run_benchmark.py doctor                                what is missing here, and what gets it
  run_benchmark.py tables benchmarks/digits_demo.yaml    draw tables, pictures and page again, with no training (plots: pictures)
  run_benchmark.py report results/reference/digits --serve    look at a run in a browser
  run_benchmark.py compare results/reference/digits results/digits   what changed, by more than noise
  run_benchmark.py export digits --to digits.csv         records for other programs
  run_benchmark.py bench images benchmarks/digits_demo.yaml   how good the made images are
  run_benchmark.py bench augmentations digits_adapters   what each adapter costs and gives
  run_benchmark.py bench classify                        how fast training is beside plain code
  run_benchmark.py bench execution                       what the store and a Ray cluster cost
  run_benchmark.py bench adapters                        what Terra costs beside a LoRA and the base model
  run_benchmark.py bench data                            how fast images are prepared, and in how much memory
  run_benchmark.py datasets list                         the data sets, and which are in place
  run_benchmark.py morph x.png y.png --prompt-x "a seven" --prompt-y "a three" -o out    images from one to the other
  run_benchmark.py metrics out                           how smooth a morph is
  run_benchmark.py export-lora ARTIFACT --t 0.5 --to lora.safetensors    an adapter for stock diffusers
  run_benchmark.py analogy --a A --a-prime A2 --b B --adapter KEY -o OUT.png    an image changed as an example shows

exit codes: 0 done; 1 some jobs failed (the rest were made), or compare found a difference; 2 a mistake in the command or a file; 130 interrupted"""

MOST_SENTENCES = 8
"""Of the gains by made images: more are not printed, but named with their file."""


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text!r}")
    return int(text)


def port(text: str) -> int:
    """A port, for argparse."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 65535, not {text!r}")
    return int(text)


def time_point(text: str) -> list[float]:
    """Numbers between commas, for argparse."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected a number, or several as in 0.5,-1, not {text!r}"
        ) from error


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="run_benchmark.py", description=ABOUT, epilog=EXAMPLES, formatter_class=formatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, call: Callable[[argparse.Namespace], int], about: str, more: str = "") -> Any:
        sub = commands.add_parser(name, help=about, description=f"{about}. {more}", formatter_class=formatter)
        sub.set_defaults(call=call)
        return sub

    def with_plugins(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--plugin", type=Path, metavar="FILE", action="append", default=[],
            help="a Python file that declares a method (see the README); may be given more than once",
        )  # fmt: skip

    def with_suite(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("suite", help="a suite's file, or its name under benchmarks/")
        sub.add_argument(
            "--store", type=Path, metavar="FOLDER", default=None,
            help="where artifacts are kept (default: $TERRABENCH_STORE, else results/store)",
        )  # fmt: skip
        sub.add_argument(
            "--results", type=Path, metavar="FOLDER", default=None,
            help="where records, tables and plots are written (default: results/)",
        )  # fmt: skip
        with_plugins(sub)
        sub.add_argument("--json", action="store_true", help="answer as JSON on standard output")
        sub.add_argument("--quiet", action="store_true", help="no progress")

    run = command("run", run_suite, "make what is missing of a suite, then its records, tables, plots and page",
                  "Ctrl-C stops it; the same command goes on from the last checkpoint of every job.")  # fmt: skip
    with_suite(run)
    run.add_argument(
        "--workers", type=positive, metavar="N", default=None,
        help="most jobs at a time (default: as many as there are CPU cores and GPUs for); results do not depend on it",
    )  # fmt: skip
    run.add_argument(
        "--executor", choices=["local", "ray"], default="local",
        help="where jobs run: processes of this machine, or tasks of a Ray cluster (default: %(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--address", metavar="HOST:PORT", default=None,
        help="of the Ray cluster, or auto for the one that this machine is of (default: a Ray of this machine alone)",
    )  # fmt: skip
    plan = command("plan", show_plan, "print the jobs of a suite, which are done, and what the others will need",
                   "Hours, disk and GPU memory are\nestimates; it is said which rates are measured, and which are stated.")  # fmt: skip
    with_suite(plan)
    for sub in (run, plan):
        sub.add_argument(
            "--only", metavar="WHICH", default=None,
            help="a part of the suite: task, method, augmentation or seed, as in --only 'task=MN->MM,method=MCC'",
        )  # fmt: skip
        sub.add_argument(
            "--cpu", action="store_true", help="use no GPU, even for what would take days without"
        )
    tables = command(
        "tables", draw_tables, "write records, tables, plots and page from what is finished, without training"
    )
    with_suite(tables)
    plots = command(
        "plots",
        draw_plots,
        "draw the pictures alone: those that are missing, or that would come out otherwise",
    )
    with_suite(plots)
    add_report(command)
    verify = command("verify", verify_suite, "check every file of a suite's artifacts against its hash")
    with_suite(verify)

    doctor = command(
        "doctor", examine, "what this machine has, and for what is missing the command that gets it",
        "Looks at python, torch,\nGPUs, disk, packages and extras, and the weights and data sets that the suites of "
        "benchmarks/ name.\n\nexit codes: 0 SUITE can be run; 1 something that it needs is missing",
    )  # fmt: skip
    doctor.add_argument(
        "suite", nargs="?", default="digits", help="a name under benchmarks/ (default: %(default)s)"
    )
    doctor.add_argument(
        "--store", type=Path, metavar="FOLDER", default=None, help="where artifacts will be kept"
    )
    doctor.add_argument("--json", action="store_true", help="answer as JSON on standard output")
    compare = command(
        "compare", compare_runs, "which accuracies changed between two runs, and by more than their noise",
        "Reads records alone, in\nseconds. B is measured against A, cell by cell: a task, a method, an augmentation, a "
        "backbone, a selection rule.\n\nA change is beyond noise if Welch's t-test between the seeds of A and of B says "
        "so (p < 0.05, adjusted for the\nnumber of cells by Benjamini and Hochberg's rule). With one seed the noise is "
        "unknown, which is said and is no\ndifference. Cells in only one run, other versions and other settings are "
        "listed; they do not count as differences.\n\n"
        "example: run_benchmark.py compare results/reference/digits results/digits\n\n"
        "exit codes: 0 nothing differs by more than noise; 1 something does; 2 a mistake in the command or a file",
    )  # fmt: skip
    compare.add_argument("run_a", metavar="RUN_A", help="a results folder, a records.csv, or a suite")
    compare.add_argument("run_b", metavar="RUN_B", help="the run to measure against it")
    compare.add_argument("--json", action="store_true", help="every cell, as JSON on standard output")
    export = command(
        "export", export_records, "write records for other programs",
        "Reads records alone.\n\n"
        "  FILE.csv, FILE.parquet   one accuracy a row: over all classes, and of each class (column `class`)\n"
        "  tensorboard:FOLDER       event files: a run for each row of the tables, a scalar for each selection rule and\n"
        "                           task; the step is the seed\n"
        "  wandb:FOLDER             the same as offline runs of Weights & Biases, for `wandb sync`\n\n"
        "Parquet needs pyarrow, the last two the packages of their names: pip install 'terrabench[parquet]', and so on.\n\n"
        "example: run_benchmark.py export digits --to digits.csv",
    )  # fmt: skip
    export.add_argument("run", metavar="RUN", help="a results folder, a records.csv, or a suite")
    export.add_argument("--to", required=True, metavar="WHERE", help="what to write, as above")
    for sub in (compare, export):
        sub.add_argument(
            "--results", type=Path, metavar="FOLDER", default=None,
            help="where the folders of suites are (default: results/)",
        )  # fmt: skip

    data_commands.add_parser(commands)
    analogy_command.add_parser(commands)
    morph_command.add_parser(commands)
    metrics_command.add_parser(commands)
    methods = command("methods", show_methods, "list the classifier methods and their hyper-parameters")
    with_plugins(methods)

    export = command(
        "export-lora", export_adapter, "write an adapter at one t as a standard LoRA",
        "A Terra is\nanother LoRA at every t: at 0 that of the source domain, at 1 that of the target, blends between"
        " and exaggerations\nbeyond. Stock diffusers loads the file and renders what Terra renders at that t:\n\n"
        "  run_benchmark.py export-lora results/store/artifacts/finetune/KEY --t 0.5 --to half.safetensors\n"
        "  pipe.load_lora_weights(\"half.safetensors\")   # pipe: the base model it was fine-tuned on\n\n"
        "No base model is loaded. A warning says if K(t) of a layer is singular at that t.",
    )  # fmt: skip
    export.add_argument(
        "adapter", type=Path, metavar="ARTIFACT_OR_FILE",
        help="the folder of a finished fine-tuning, as `plan --json` names its key, or an adapter.safetensors",
    )  # fmt: skip
    export.add_argument(
        "--t", type=time_point, metavar="T",
        help="the time: a number such as 0.5, or as many as t has dimensions, such as 0.5,-1 (--t=-1,0.5 if the "
        "first is negative); a plain LoRA takes none",
    )  # fmt: skip
    export.add_argument(
        "--to", type=Path, metavar="FILE", required=True, help="what to write, named *.safetensors"
    )
    export.add_argument(
        "--scale", type=float, metavar="S", default=1.0,
        help="a factor on the update, as generate.scale of a suite (default: %(default)s)",
    )  # fmt: skip
    export.add_argument("--json", action="store_true", help="answer as JSON on standard output")

    bench = commands.add_parser(
        "bench", help="measure: images, and the speed of training, adapters and reports"
    )
    benches = bench.add_subparsers(dest="bench", required=True, metavar="WHAT")
    images = benches.add_parser(
        "images",
        help="how good a suite's made images are",
        description="Train an ERM classifier on each target's own labels (for this check alone), and print the share\n"
        "of made images that it recognises as their class, and the Frechet distance, in its features, of each set\n"
        "of images to the target's.",
        formatter_class=formatter,
    )
    images.set_defaults(call=bench_images)
    with_suite(images)
    augmentations = benches.add_parser(
        "augmentations",
        help="what each adapter of a suite costs and gives",
        description="A row for each task and augmentation of a suite that was run: accuracy of each method, learned numbers of\n"
        "the adapter, seconds to train it and to make its images, and the Frechet distance of each set of images to the\n"
        "target's, in the features of a classifier that learned the target's labels for this check alone. `held_out`\n"
        "is yes where a LoRWeB had no analogy of that target. Written to tables/augmentations.csv and .md of the results.",
        formatter_class=formatter,
    )
    augmentations.set_defaults(call=bench_augmentations)
    with_suite(augmentations)
    classify = benches.add_parser(
        "classify",
        help="how fast training reads images, and what its loop costs",
        description="Measure stage three beside plain code that does the same, taking turns, and print the ratios\n"
        "(medians). Other work on this machine slows both sides alike. About a minute; needs no suite.\n\n"
        "  loop     the time of a training step over that of a bare loop with the same network, loss and batches\n"
        "  inputs   images a second from JPEG files of about 300x300 (resize to 256, random resized crop to 224,\n"
        "           flip, normalise), once all are in the cache, over torchvision's ImageFolder and DataLoader\n"
        "  pixels   how far the same crops of both differ, of 255, on average",
        formatter_class=formatter,
    )
    classify.set_defaults(call=bench_classify)
    classify.add_argument(
        "--workers", type=positive, metavar="N", default=1,
        help="threads that read images, and processes of the DataLoader (default: %(default)s)",
    )  # fmt: skip
    timed = benches.add_parser(
        "report",
        help="how long tables, page and t-SNE take",
        description="Make up records and features, and print how long it takes to write what a researcher looks at.\n"
        "A minute or two; needs no suite.\n\n"
        "  report   from 5,184 records to the tables, statistics and page of a suite, without pictures\n"
        "  t-SNE    of 5,000 features of 256 dimensions, twice, and whether both have the same bytes",
        formatter_class=formatter,
    )
    timed.set_defaults(call=bench_report)
    adapters = benches.add_parser(
        "adapters",
        help="what Terra costs beside a LoRA and the base model",
        description="Measure Terra on the mini model, the sides taking turns in one run, and print the ratios\n"
        "(medians). Other work on this machine slows all sides alike. A few minutes; needs no suite.\n\n"
        "  train       the time of a training step over that of peft's LoRA, of the same rank and layers\n"
        "  merged      the time of the denoiser with Terra merged at one t over that of the base model\n"
        "  per_sample  the time of the denoiser with a t for each sample over that with one t for all\n"
        "  parameters  learned numbers more than the LoRA's, for each layer and dimension of t",
        formatter_class=formatter,
    )
    adapters.set_defaults(call=bench_adapters)
    adapters.add_argument(
        "--turns", type=positive, metavar="N", default=15,
        help="how often each side is timed (default: %(default)s)",
    )  # fmt: skip
    for sub in (classify, timed, adapters):
        sub.add_argument("--json", action="store_true", help="answer as JSON on standard output")
        sub.add_argument("--quiet", action="store_true", help="no progress")
    data = benches.add_parser(
        "data",
        help="how fast images are prepared, and in how much memory",
        description="Write small JPEG files in VisDA's layout, import them and prepare them, each in a process of its own,\n"
        "and print images a second and the most memory that was in use (aim: under 1 GiB for 100,000 images).",
        formatter_class=formatter,
    )
    data.set_defaults(call=bench_data)
    data.add_argument(
        "--images", type=positive, metavar="N", default=10_000, help="how many (default: %(default)s)"
    )
    data.add_argument("--json", action="store_true", help="answer as JSON on standard output")
    execution = benches.add_parser(
        "execution",
        help="what the store, a finished suite and a Ray cluster cost",
        description="Measure the machinery around the work, and print its cost. About three minutes; needs no suite. Other\n"
        "work on this machine spoils it.\n\n"
        "  store     milliseconds that the store takes for one finished job, beside 10,000 artifacts\n"
        "  finished  seconds of `run` and `plan` on a suite of 505 jobs, all of them finished\n"
        "  ray       how many times as fast trainings of about two seconds are on two Ray workers as on one",
        formatter_class=formatter,
    )
    execution.set_defaults(call=bench_execution)
    execution.add_argument("--json", action="store_true", help="answer as JSON on standard output")
    execution.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def add_report(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The command line of `report`."""
    page = command(
        "report", show_report, "write index.html, a page with a suite's tables, pictures, settings and times",
        "It is drawn\nfrom the suite's results folder alone (records.csv, run.json, plots/), with no artifacts, and is one\n"
        "file that needs no network: send it to whom you like. `run` and `tables` write it too.\n\n"
        "  report digits                       of the suite digits, in results/digits/\n"
        "  report results/reference/digits     of any folder with a records.csv\n"
        "  report digits --serve               and look at it in a browser on this machine",
    )  # fmt: skip
    page.add_argument("what", metavar="SUITE|FOLDER", help="a suite's file or name, or a folder of results")
    page.add_argument(
        "--results", type=Path, metavar="FOLDER", default=None,
        help="where the suite's folder is, if a suite is named (default: results/)",
    )  # fmt: skip
    page.add_argument(
        "--serve", action="store_true", help="then serve the folder at http://127.0.0.1, until Ctrl-C"
    )
    page.add_argument(
        "--port", type=port, metavar="N", default=8000,
        help="where to serve it (default: %(default)s; 0: any that is free)",
    )  # fmt: skip


def open_any_suite(options: argparse.Namespace) -> "tuple[Plan | MorphPlan, Store, Path]":
    """As open_suite, of a suite of morphs too."""
    from pipeline import config
    from pipeline.morph_plan import make_morph_plan
    from pipeline.store import Store

    suite = config.read_any_suite(options.suite)
    if not isinstance(suite, config.MorphSuite):
        return open_suite(options)
    if getattr(options, "only", None):
        raise UserError(f"--only is for suites of trainings; {suite.name} compares morphs")
    base_model = config.resolve_base_model(suite.base_model)
    plan = make_morph_plan(suite, config.read_card(suite.dataset), base_model)
    return plan, Store(store_root(options)), results_root(options) / suite.name


def open_suite(options: argparse.Namespace) -> "tuple[Plan, Store, Path]":
    """The plan of the suite that the user named, its store, and its folder under results/."""
    from pipeline import config
    from pipeline.classify import plugins, registry
    from pipeline.plan import make_plan
    from pipeline.store import Store

    registry.use(plugins.given(path) for path in options.plugin)
    suite = config.resolve_pretrained(config.read_suite(options.suite))
    for method in suite.methods:
        registry.check_method(method)
        registry.check_setting(method.name, suite.setting)
    card = config.resolve_card(config.read_card(suite.dataset))
    base_model = config.resolve_base_model(suite.base_model)
    plan = make_plan(suite, card, base_model, registry.plugged_in())
    return plan, Store(store_root(options)), results_root(options) / suite.name


def store_root(options: argparse.Namespace) -> Path:
    """The folder of the store that the user named, or the usual one."""
    from pipeline import config

    return config.store_folder(options.store)


def results_root(options: argparse.Namespace) -> Path:
    """The folder of the suites' folders that the user named, or the usual one."""
    from pipeline import config

    return options.results or config.ROOT / "results"


def run_suite(options: argparse.Namespace) -> int:
    """`run`."""
    import importlib

    from pipeline.execution.progress import Bars
    from pipeline.execution.walk import Outcome, missing
    from pipeline.only import pick
    from pipeline.results import check_writable

    plan, store, folder = open_any_suite(options)
    part = pick(plan, options.only) if options.only else plan
    check_writable(folder)
    with Bars({}, 1, quiet=options.quiet) as bars:
        todo = missing(part.jobs, store, bars)
    check_backbones(todo)
    outcome = Outcome()
    if todo:
        executor = importlib.import_module(f"pipeline.execution.{options.executor}")
        with executor.opened(options.workers, options.address, cpu=options.cpu) as capacity:
            outcome = make_missing(part, todo, store, capacity, executor.walk, options)
    report(plan, store, folder, options)
    for job in outcome.skipped:
        print(f"not tried: {job.label}, for a job that it stands on failed", file=sys.stderr)
    return 1 if outcome.failed else 0


def make_missing(
    plan: "Plan | MorphPlan",
    todo: "list[Job]",
    store: "Store",
    capacity: "Capacity",
    walk: "Walker",
    options: argparse.Namespace,
) -> "Outcome":
    """Say what is to come, and make `todo`."""
    from pipeline import forecast
    from pipeline.execution.progress import Bars, spell

    remarks = forecast.check(todo, store, capacity, cpu=options.cpu)
    check_optimizer(todo)
    several = forecast.at_a_time(todo, capacity)
    with Bars(forecast.expected(todo, store, capacity), several, quiet=options.quiet) as bars:
        for remark in remarks:
            bars.noted(remark)
        bars.noted(
            f"{plan.suite.name}: {len(todo)} of {len(plan.jobs)} jobs to make, {several} at a time; "
            f"about {spell(bars.time_left())}"
        )
        return walk(todo, store, capacity, bars)


def check_backbones(todo: "list[Job]") -> None:
    """UserError if a backbone does not exist: better said before hours of work than after."""
    from pipeline.config import SMALL

    networks = [job.params.settings for job in todo if job.kind in ("t_predictor", "train")]
    named = {settings.backbone for settings in networks} - {SMALL}
    if named:
        from pipeline.backbones import check_backbone  # imports torch

        for name in sorted(named):
            check_backbone(name)


def check_optimizer(todo: "list[Job]") -> None:
    """UserError if an optimiser's package is missing: the same, for it is made when all images are encoded."""
    import importlib.util

    wanted = any(job.kind == "finetune" and job.params.settings.optimizer == "adamw8bit" for job in todo)
    if wanted and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "finetune.optimizer: adamw8bit needs bitsandbytes; pip install bitsandbytes, or take adamw"
        )


def report(plan: "Plan | MorphPlan", store: "Store", folder: Path, options: argparse.Namespace) -> None:
    """Write records, tables, plots and page of what is finished, and print the table."""
    from rich.console import Console

    from pipeline.morph_plan import MorphPlan
    from pipeline.report import drawn, tables
    from pipeline.results import state

    if isinstance(plan, MorphPlan):
        from pipeline.morph_results import report_morphs  # imports matplotlib

        print(report_morphs(plan, store, folder, as_json=options.json))
        return
    recorded = records_of(plan, store, folder)
    made = None
    if recorded is not None:
        mark = state(plan, store, folder / "records.csv", options.suite, options.plugin)
        made = drawn.read(folder, mark) or draw(plan, store, folder, options, recorded, mark)
    if options.json:
        counts = {"jobs": len(plan.jobs), "done": sum(store.has(job.kind, job.key) for job in plan.jobs)}
        files = [] if made is None else list(made.files)
        rows = [] if recorded is None else json.loads(recorded.to_json(orient="records", double_precision=15))
        print(
            json.dumps(
                {"suite": plan.suite.name, **counts, "folder": str(folder), "files": files, "records": rows}
            )
        )
        return
    if recorded is None or made is None:
        print(f"no training of {plan.suite.name} is finished yet", file=sys.stderr)
        return
    table = tables.accuracy_table(recorded, plan.suite, list(plan.tasks), plan.suite.selections[0])
    console = Console()
    shown = tables.terminal(table, console.width)
    caption, shown.caption = shown.caption, None
    console.print(shown, caption, sep="\n")
    print(*made.said, sep="\n", end="\n" * bool(made.said))
    print(f"records, tables and plots: {folder}\npage: {folder / drawn.PAGE}\nartifacts: {store.root}")


def records_of(plan: "Plan", store: "Store", folder: Path) -> "DataFrame | None":
    """The records of what is finished, in records.csv of `folder`; what there is to say of them is said."""
    from pipeline.results import gather

    recorded, said = gather(plan, store, folder / "records.csv")
    print(*said, sep="\n", end="\n" * bool(said), file=sys.stderr)
    return recorded


def draw(
    plan: "Plan", store: "Store", folder: Path, options: argparse.Namespace, recorded: "DataFrame", mark: str
) -> "Drawn":
    """Write tables, plots and page of `recorded`."""
    from pipeline.report import about, drawn, page
    from pipeline.report.write import write_report
    from pipeline.results import about_records, about_run, drawn_from

    written = write_report(plan.suite, recorded, drawn_from(plan, store), folder)
    trained = any(store.has(cell.job.kind, cell.job.key) for cell in plan.cells)
    tell = partial(about_run, store=store) if trained else partial(about_records, folder=folder)
    told = tell(plan, file=options.suite, plugins=options.plugin)
    written += [about.write(folder, told), page.write(folder, told, recorded)]
    return drawn.write(folder, mark, written, gains(recorded, plan, folder))


def gains(recorded: "DataFrame", plan: "Plan", folder: Path) -> list[str]:
    """What the tables say of made images, a sentence a comparison, or where to read it if that is long."""
    from pipeline.report import statistics, statistics_text

    suite, selection = plan.suite, plan.suite.selections[0]
    said = statistics_text.sentences(statistics.statistics(recorded, suite, list(plan.tasks), selection))
    if len(said) > MOST_SENTENCES:
        return [f"gains by made images, in {len(said)} sentences: {folder}/tables/statistics_{selection}.md"]
    return said


def draw_tables(options: argparse.Namespace) -> int:
    """`tables`."""
    from pipeline.results import check_writable

    plan, store, folder = open_any_suite(options)
    check_writable(folder)
    report(plan, store, folder, options)
    return 0


def draw_plots(options: argparse.Namespace) -> int:
    """`plots`."""
    from pipeline.report.write import write_plots
    from pipeline.results import check_writable, drawn_from

    plan, store, folder = open_suite(options)
    check_writable(folder)
    recorded = records_of(plan, store, folder)
    if recorded is None:
        print(f"no training of {plan.suite.name} is finished yet", file=sys.stderr)
        return 0
    pictures = write_plots(plan.suite, recorded, drawn_from(plan, store), folder)
    told = {"suite": plan.suite.name, "folder": str(folder), "files": list(map(str, pictures))}
    print(json.dumps(told) if options.json else f"{len(pictures)} files of pictures: {folder / 'plots'}")
    return 0


def show_report(options: argparse.Namespace) -> int:
    """`report`."""
    from pipeline import config
    from pipeline.report import page, records, serve
    from pipeline.report.write import write_plots
    from pipeline.results import about_folder, check_writable, without_artifacts

    folder = Path(options.what)
    if not folder.is_dir():
        folder = results_root(options) / config.read_suite(options.what).name
    recorded = records.read(folder / "records.csv")
    check_writable(folder)
    told = about_folder(folder, recorded)
    write_plots(told.suite, recorded, without_artifacts(told), folder)
    print(page.write(folder, told, recorded))
    if options.serve:
        serve.serve(folder, options.port)
    return 0


def compare_runs(options: argparse.Namespace) -> int:
    """`compare`."""
    from pipeline.report import compare, records

    results = results_root(options)
    file_a, file_b = (records.locate(run, results) for run in (options.run_a, options.run_b))
    found = compare.compare(records.read(file_a), records.read(file_b))
    print(json.dumps(found.as_json()) if options.json else compare.described(found, file_a, file_b))
    return int(found.differs)


def export_records(options: argparse.Namespace) -> int:
    """`export`."""
    from pipeline.report import export, records

    file = records.locate(options.run, results_root(options))
    print(export.export(records.read(file), file, options.to))
    return 0


def show_plan(options: argparse.Namespace) -> int:
    """`plan`."""
    from pipeline import forecast
    from pipeline.execution import local
    from pipeline.only import pick

    plan, store, _ = open_any_suite(options)
    plan = pick(plan, options.only) if options.only else plan
    with local.opened(None, None, cpu=options.cpu) as capacity:
        if options.json:
            print(json.dumps(forecast.as_json(plan, store, capacity)))
        else:
            print(forecast.described(plan, store, capacity))
    return 0


def verify_suite(options: argparse.Namespace) -> int:
    """`verify`."""
    plan, store, _ = open_any_suite(options)
    present = [job for job in plan.jobs if store.has(job.kind, job.key)]
    found = {job: store.damage(job.kind, job.key, thorough=True) for job in present}
    damaged = {job: damage for job, damage in found.items() if damage}
    if options.json:
        bad = [{"label": job.label, "key": job.key, "damage": str(damage)} for job, damage in damaged.items()]
        print(json.dumps({"checked": len(present), "damaged": bad}))
    else:
        for job, damage in damaged.items():
            print(f"{store.path(job.kind, job.key)} ({job.label}): {damage}")
        print(f"{len(present)} artifacts checked, {len(damaged)} damaged")
    for job in damaged:
        store.discard(job.kind, job.key)
    if damaged and not options.json:
        print("the damaged ones were taken away; `run` makes them again")
    return 1 if damaged else 0


def examine(options: argparse.Namespace) -> int:
    """`doctor`."""
    from pipeline import config, doctor

    named, others = config.read_suite(options.suite), doctor.known_suites()
    suite = named.name
    findings = doctor.examine(store_root(options), [named, *(one for one in others if one.name != suite)])
    print(json.dumps(doctor.as_json(findings, suite)) if options.json else doctor.described(findings, suite))
    return 1 if doctor.wanting(findings, suite) else 0


def show_methods(options: argparse.Namespace) -> int:
    """`methods`."""
    from pipeline.classify import plugins, registry

    registry.use(plugins.given(path) for path in options.plugin)
    print(registry.describe_methods())
    return 0


def bench_images(options: argparse.Namespace) -> int:
    """`bench images`."""
    import pandas as pd

    from pipeline.classify.image_quality import assess
    from pipeline.config import FolderCard
    from pipeline.results import artifact

    plan, store, _ = open_suite(options)
    if isinstance(plan.card, FolderCard):
        raise UserError(
            f"bench images is for data sets that are made here, such as digits, not for {plan.card.name}"
        )
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
    from pipeline.classify import augmentations
    from pipeline.config import FolderCard
    from pipeline.store import write_atomic

    plan, store, folder = open_suite(options)
    if isinstance(plan.card, FolderCard):
        raise UserError(
            f"bench augmentations is for data sets that are made here, such as digits, not for {plan.card.name}"
        )
    table = augmentations.compare(plan, store)
    if table.empty:
        print(f"nothing of {plan.suite.name} is made yet; run the suite first", file=sys.stderr)
        return 1
    write_atomic(folder / "tables" / "augmentations.csv", table.to_csv(index=False, float_format="%.4g"))
    write_atomic(folder / "tables" / "augmentations.md", augmentations.as_markdown(table))
    print(augmentations.as_json(table) if options.json else table.round(2).to_string(index=False, na_rep=""))
    return 0


def bench_classify(options: argparse.Namespace) -> int:
    """`bench classify`."""
    from pipeline.classify import bench

    def say(text: str) -> None:
        if not options.quiet:
            print(text, file=sys.stderr)

    measured = bench.measure(options.workers, say)
    print(json.dumps(measured) if options.json else bench.described(measured))
    return 0


def bench_report(options: argparse.Namespace) -> int:
    """`bench report`."""
    from pipeline.report import bench

    def say(text: str) -> None:
        if not options.quiet:
            print(text, file=sys.stderr)

    measured = bench.measure(say)
    print(json.dumps(measured) if options.json else bench.described(measured))
    return 0


def bench_adapters(options: argparse.Namespace) -> int:
    """`bench adapters`."""
    from pipeline.diffusion import bench

    def say(text: str) -> None:
        if not options.quiet:
            print(text, file=sys.stderr)

    measured = bench.measure(options.turns, say)
    print(json.dumps(measured) if options.json else bench.described(measured))
    return 0


def bench_data(options: argparse.Namespace) -> int:
    """`bench data`."""
    from pipeline.data import bench

    measured = bench.measure(options.images)
    print(json.dumps(measured) if options.json else bench.described(measured))
    return 0


def bench_execution(options: argparse.Namespace) -> int:
    """`bench execution`."""
    from pipeline.execution import bench

    def say(text: str) -> None:
        if not options.quiet:
            print(text, file=sys.stderr)

    measured = bench.measure(say)
    print(json.dumps(measured) if options.json else bench.described(measured))
    return 0


def export_adapter(options: argparse.Namespace) -> int:
    """`export-lora`."""
    import warnings

    from pipeline.diffusion.adapters.export import export_lora

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written = export_lora(options.adapter, options.to, options.t, options.scale)
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    if options.json:
        print(json.dumps(written | {"warnings": [str(warning.message) for warning in caught]}))
    else:
        print(f"{written['file']}: a LoRA of rank {written['rank']} on {written['layers']} layers")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a scheduler sends is a Ctrl-C too
    try:
        return options.call(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
