"""The whole command line, and what becomes of errors."""

import argparse
import os
import select
import signal
import sys

from pipeline.cli import (
    analogy,
    bench,
    datasets,
    doctor,
    export_lora,
    methods,
    metrics,
    morph,
    records,
    run,
    suites,
    validate,
)
from pipeline.core.errors import UserError

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
  run_benchmark.py validate my_suite.yaml                is a suite, a dataset card or a plug-in right?
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


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="run_benchmark.py",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run.add(commands)
    suites.add_plan(commands)
    validate.add(commands)
    suites.add_drawing(commands)
    records.add_report(commands)
    suites.add_verify(commands)
    doctor.add(commands)
    records.add_compare(commands)
    records.add_export(commands)
    for theirs in (datasets, analogy, morph, metrics, methods, export_lora, bench):
        theirs.add(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's SIGTERM counts as Ctrl-C
    try:
        code = options.call(options)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _reader_of_stdout_is_gone():
            raise  # a pipe to a worker, say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more as it exits
        return 0


def _reader_of_stdout_is_gone() -> bool:
    """Return whether standard output is a pipe that nobody reads any more, as in `terrabench methods | head -1`."""
    poll = select.poll()
    poll.register(sys.stdout, 0)  # reports errors alone
    return bool(poll.poll(0))
