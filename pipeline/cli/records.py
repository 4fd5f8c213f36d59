"""The commands `report`, `compare` and `export`, which read records and need no store."""

import argparse
from typing import Any

from pipeline.cli.arguments import add_command, with_results
from pipeline.cli.suite_loading import results_root
from pipeline.cli.terminal import remark, say, say_json
from pipeline.core.text import one_line
from pipeline.report.progress_bar import drawing

REPORT = """\
The page shows tables, figures, settings, versions and times. It is written from the results folder alone
(records.csv, run.json, plots/), and is one file that needs no network, so that it can be sent to others.
`run` and `tables` write it too.

examples:
  run_benchmark.py report digits                       the suite digits, in results/digits/
  run_benchmark.py report results/reference/digits     any folder with a records.csv
  run_benchmark.py report digits --serve               also open it in a browser on this machine"""

COMPARE = """\
Reads records alone, which takes seconds. B is measured against A, cell by cell: a task, a method, an
augmentation, a backbone and a selection rule, or a kind and a method of morphs.

A change is beyond noise if Welch's t-test between the seeds of A and of B says so (p < 0.05, adjusted for
the number of cells by Benjamini and Hochberg's rule). With one seed the noise is unknown: the change is
listed, and does not count as a difference. The command also lists cells that only one run has, and
differences of versions, settings and machines, the latter from the run.json beside the records.

example: run_benchmark.py compare results/reference/digits results/digits

exit codes: 0 nothing differs by more than noise; 1 something does; 2 a mistake in the command or a file"""

EXPORT = """\
Reads records alone.

  FILE.csv, FILE.parquet   one accuracy a row: over all classes, and of each class (column `class`);
                           of morphs, one record a row
  tensorboard:FOLDER       event files: a run for each row of the tables, a scalar for each selection rule and
                           task; the step is the seed
  wandb:FOLDER             the same as offline runs of Weights & Biases, for `wandb sync`

Parquet needs pyarrow, the last two the packages of their names: pip install 'terrabench[parquet]', and so
on.

example: run_benchmark.py export digits --to digits.csv"""

RUN = "a results folder, a records.csv, or a suite"


def port(text: str) -> int:
    """Parse a port, for argparse."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 65535, not {text!r}")
    return int(text)


def add_report(commands: Any) -> None:
    """Add `report`."""
    about = "write index.html, the page of a results folder"
    report = add_command(commands, "report", show_report, about, REPORT)
    report.add_argument(
        "what", metavar="SUITE|FOLDER", help="a results folder, or the file or name of a suite"
    )
    with_results(report)
    report.add_argument(
        "--serve", action="store_true", help="serve the folder at http://127.0.0.1 until Ctrl-C"
    )
    report.add_argument(
        "--port",
        type=port,
        metavar="N",
        default=8000,
        help="port to serve at; 0 takes any that is free (default: %(default)s)",
    )


def add_compare(commands: Any) -> None:
    """Add `compare`."""
    about = "find what changed between two runs, and what by more than noise"
    compare = add_command(commands, "compare", compare_runs, about, COMPARE)
    compare.add_argument("run_a", metavar="RUN_A", help=RUN)
    compare.add_argument("run_b", metavar="RUN_B", help="the run to measure against RUN_A")
    compare.add_argument("--json", action="store_true", help="print every cell as JSON on standard output")
    with_results(compare)


def add_export(commands: Any) -> None:
    """Add `export`."""
    export = add_command(commands, "export", export_records, "write records for other programs", EXPORT)
    export.add_argument("run", metavar="RUN", help=RUN)
    export.add_argument("--to", required=True, metavar="WHERE", help="what to write, as listed above")
    with_results(export)


def show_report(options: argparse.Namespace) -> int:
    """Write the page, and print its path or serve it."""
    from pipeline.report import records
    from pipeline.report.collect import check_writable, info_of_folder
    from pipeline.report.page.build import write_page
    from pipeline.report.page.serve import serve
    from pipeline.report.plots import letters
    from pipeline.report.suite_report import report_for
    from pipeline.report.write import write_figures

    file = records.locate(options.what, results_root(options))
    folder = file.parent
    recorded = records.read(file)
    check_writable(folder)
    info = info_of_folder(folder, recorded)
    artifacts = report_for(info.suite.setting).no_artifacts(info)
    if sentence := letters.note(info.suite.title, info.card.classes, recorded):
        remark(sentence)
    with drawing(quiet=False) as progress:
        write_figures(info.suite, recorded, artifacts, folder, progress)
    say(write_page(folder, info, recorded))
    if options.serve:
        serve(folder, options.port, say)
    return 0


def compare_runs(options: argparse.Namespace) -> int:
    """Print the comparison; return 1 if something differs by more than noise."""
    from pipeline.report import records
    from pipeline.report.tables import compare, machines

    results = results_root(options)
    file_a, file_b = (records.locate(run, results) for run in (options.run_a, options.run_b))
    found = compare.compare(records.read(file_a), records.read(file_b))
    made_a, made_b = map(machines.provenance_of, (file_a, file_b))
    if options.json:
        say_json(found.as_json() | {"machines": machines.differences(made_a, made_b)})
    else:
        say(compare.described(found, file_a, file_b))
        if sentence := machines.sentence(made_a, made_b):
            say(one_line(sentence))
    return int(found.differs)


def export_records(options: argparse.Namespace) -> int:
    """Write the records, and print where."""
    from pipeline.report import records
    from pipeline.report.tables.export import export

    file = records.locate(options.run, results_root(options))
    say(export(records.read(file), file, options.to))
    return 0
