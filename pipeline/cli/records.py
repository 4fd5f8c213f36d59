"""`report`, `compare`, `export`: what is read of records, with no store of artifacts."""

import argparse
import json
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import add_command
from pipeline.cli.progress_bar import drawing
from pipeline.cli.suite_loading import results_root


def port(text: str) -> int:
    """A port, for argparse."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 65535, not {text!r}")
    return int(text)


def add_report(commands: Any) -> None:
    """Adds `report`."""
    page = add_command(
        commands,
        "report",
        show_report,
        "write index.html, a page with a suite's tables, pictures, settings and times",
        "It is drawn\nfrom the suite's results folder alone (records.csv, run.json, plots/), with no artifacts, and is one\n"
        "file that needs no network: send it to whom you like. `run` and `tables` write it too.\n\n"
        "  report digits                       of the suite digits, in results/digits/\n"
        "  report results/reference/digits     of any folder with a records.csv\n"
        "  report digits --serve               and look at it in a browser on this machine",
    )
    page.add_argument("what", metavar="SUITE|FOLDER", help="a suite's file or name, or a folder of results")
    page.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        default=None,
        help="where the suite's folder is, if a suite is named (default: results/)",
    )
    page.add_argument(
        "--serve", action="store_true", help="then serve the folder at http://127.0.0.1, until Ctrl-C"
    )
    page.add_argument(
        "--port",
        type=port,
        metavar="N",
        default=8000,
        help="where to serve it (default: %(default)s; 0: any that is free)",
    )


def add_compare(commands: Any) -> None:
    """Adds `compare`."""
    compare = add_command(
        commands,
        "compare",
        compare_runs,
        "which accuracies changed between two runs, and by more than their noise",
        "Reads records alone, in\nseconds. B is measured against A, cell by cell: a task, a method, an augmentation, a "
        "backbone, a selection rule.\n\nA change is beyond noise if Welch's t-test between the seeds of A and of B says "
        "so (p < 0.05, adjusted for the\nnumber of cells by Benjamini and Hochberg's rule). With one seed the noise is "
        "unknown, which is said and is no\ndifference. Cells in only one run, other versions and other settings are "
        "listed; they do not count as differences.\n\n"
        "example: run_benchmark.py compare results/reference/digits results/digits\n\n"
        "exit codes: 0 nothing differs by more than noise; 1 something does; 2 a mistake in the command or a file",
    )
    compare.add_argument("run_a", metavar="RUN_A", help="a results folder, a records.csv, or a suite")
    compare.add_argument("run_b", metavar="RUN_B", help="the run to measure against it")
    compare.add_argument("--json", action="store_true", help="every cell, as JSON on standard output")
    with_results(compare)


def add_export(commands: Any) -> None:
    """Adds `export`."""
    export = add_command(
        commands,
        "export",
        export_records,
        "write records for other programs",
        "Reads records alone.\n\n"
        "  FILE.csv, FILE.parquet   one accuracy a row: over all classes, and of each class (column `class`)\n"
        "  tensorboard:FOLDER       event files: a run for each row of the tables, a scalar for each selection rule and\n"
        "                           task; the step is the seed\n"
        "  wandb:FOLDER             the same as offline runs of Weights & Biases, for `wandb sync`\n\n"
        "Parquet needs pyarrow, the last two the packages of their names: pip install 'terrabench[parquet]', and so on.\n\n"
        "example: run_benchmark.py export digits --to digits.csv",
    )
    export.add_argument("run", metavar="RUN", help="a results folder, a records.csv, or a suite")
    export.add_argument("--to", required=True, metavar="WHERE", help="what to write, as above")
    with_results(export)


def with_results(sub: argparse.ArgumentParser) -> None:
    """Adds --results, where suites are looked up."""
    sub.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        default=None,
        help="where the folders of suites are (default: results/)",
    )


def show_report(options: argparse.Namespace) -> int:
    """`report`."""
    from pipeline import config
    from pipeline.report import records
    from pipeline.report.collect import about_folder, check_writable, without_artifacts
    from pipeline.report.page import build
    from pipeline.report.page import serve
    from pipeline.report.write import write_plots

    folder = Path(options.what)
    if not folder.is_dir():
        folder = results_root(options) / config.read_suite(options.what).name
    recorded = records.read(folder / "records.csv")
    check_writable(folder)
    told = about_folder(folder, recorded)
    with drawing(quiet=False) as progress:
        write_plots(told.suite, recorded, without_artifacts(told), folder, progress)
    print(build.write_page(folder, told, recorded))
    if options.serve:
        serve.serve(folder, options.port)
    return 0


def compare_runs(options: argparse.Namespace) -> int:
    """`compare`."""
    from pipeline.report import records
    from pipeline.report.tables import compare

    results = results_root(options)
    file_a, file_b = (records.locate(run, results) for run in (options.run_a, options.run_b))
    found = compare.compare(records.read(file_a), records.read(file_b))
    print(json.dumps(found.as_json()) if options.json else compare.described(found, file_a, file_b))
    return int(found.differs)


def export_records(options: argparse.Namespace) -> int:
    """`export`."""
    from pipeline.report import records
    from pipeline.report.tables import export

    file = records.locate(options.run, results_root(options))
    print(export.export(records.read(file), file, options.to))
    return 0
