"""The command line, and how errors end it."""

import argparse
import os
import select
import signal

from pipeline.cli import (
    analogy,
    bench,
    datasets,
    doctor,
    export_classifier,
    export_lora,
    methods,
    metrics,
    morph,
    predict,
    records,
    run,
    suites,
    validate,
)
from pipeline.cli.arguments import Parser
from pipeline.cli.terminal import claim_stdout, remark, stdout
from pipeline.core.errors import FaultyFileError, UserError, describe_os_error
from pipeline.core.paths import PROGRAM

ABOUT = """\
Run benchmarks of domain adaptation with made images, in three stages: fine-tune a time-varying
low-rank adapter (Terra) between two domains, generate images with it, and train classifiers with and
without these images.

A suite (a YAML file under benchmarks/) states what to compare. It becomes a graph of jobs; the artifact
of each job is stored once, under a hash of what made it. A run can be stopped at any time:
the same command resumes it."""

EXAMPLES = """\
examples:
  run_benchmark.py plan benchmarks/digits_demo.yaml      print the jobs, and which are finished
  run_benchmark.py run benchmarks/digits_demo.yaml       make them, and print the table
  run_benchmark.py run digits --only 'task=MN->MM,method=MCC' --executor ray    a part of it, on a Ray cluster
  run_benchmark.py doctor                                find out what is missing here
  run_benchmark.py validate my_suite.yaml                check a suite, a card or a plug-in
  run_benchmark.py tables benchmarks/digits_demo.yaml    write tables, figures and page again
  run_benchmark.py report results/reference/digits --serve           look at a run in a browser
  run_benchmark.py compare results/reference/digits results/digits   find what changed by more than noise
  run_benchmark.py export digits --to digits.csv         write records for other programs
  run_benchmark.py bench images benchmarks/digits_demo.yaml          measure how good the made images are
  run_benchmark.py datasets list                         list the datasets, and which are in place
  run_benchmark.py methods                               list the classifier methods
  run_benchmark.py morph x.png y.png --prompt-x "a seven" --prompt-y "a three" -o out
  run_benchmark.py metrics out                           score a morph
  run_benchmark.py analogy --a A --a-prime A2 --b B --adapter KEY -o OUT.png
  run_benchmark.py export-lora ARTIFACT --t 0.5 --to lora.safetensors
  run_benchmark.py predict photos/ --from KEY --to classes.csv       classify images by a trained classifier
  run_benchmark.py export-classifier KEY --to folder     write a trained classifier for timm

`run_benchmark.py COMMAND --help` explains a command.

exit codes: 0 finished; 1 some jobs failed (the others were made), or compare found a difference;
2 a mistake in the command or a file; 130 interrupted"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog=PROGRAM,
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
    for module in (
        datasets,
        analogy,
        morph,
        metrics,
        methods,
        export_lora,
        predict,
        export_classifier,
        bench,
    ):
        module.add(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's SIGTERM counts as Ctrl-C
    with claim_stdout():
        try:
            _check_working_folder()
            code = options.call(options)
            stdout().flush()
            return code
        except UserError as error:
            for fault in error.faults if isinstance(error, FaultyFileError) else [str(error)]:
                remark(f"error: {fault}")
            return 2
        except KeyboardInterrupt:
            remark("\nstopped; the same command goes on where it was")
            return 130
        except BrokenPipeError:
            if not _reader_of_stdout_is_gone():
                raise  # a pipe to a worker, say
            _give_up_stdout()
            return 0
        except OSError as error:
            sentence = describe_os_error(error)
            if sentence is None:
                raise
            remark(f"error: {sentence}")
            _give_up_stdout()
            return 2
        except MemoryError:
            remark("error: the memory of this machine is used up; close other programs, or take a larger one")
            return 2


def _check_working_folder() -> None:
    """Raise UserError if the folder that relative paths start from was removed."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError("the current folder was removed; change to one that exists") from error


def _reader_of_stdout_is_gone() -> bool:
    """Return whether standard output is a pipe that nobody reads any more, as after `… | head -1`."""
    poll = select.poll()
    poll.register(stdout(), 0)  # reports errors alone
    return bool(poll.poll(0))


def _give_up_stdout() -> None:
    """Drop what standard output cannot take, because Python tries to flush it once more as it exits."""
    try:
        stdout().flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout().fileno())
