"""Write the results of a suite: records, tables, figures and page."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from pipeline.core.stage import Progress
from pipeline.core.store import Store
from pipeline.planning.graph import AnyPlan
from pipeline.report import manifest
from pipeline.report.collect import gather, info_of_records, info_of_run, state
from pipeline.report.manifest import DrawnFiles
from pipeline.report.page import run_info
from pipeline.report.suite_report import report_for


@dataclass(frozen=True)
class Results:
    """What a results folder holds.

    Attributes:
        records: The records of all finished jobs, as in records.csv.
        drawn: The files that were written or are up to date, and what the tables say in sentences.
        page: The page.
    """

    records: pd.DataFrame
    drawn: DrawnFiles
    page: Path


def write_results(
    plan: AnyPlan,
    store: Store,
    folder: Path,
    *,
    file: str,
    plugins: Sequence[Path],
    drawing: Callable[[], AbstractContextManager[Progress]],
    tell: Callable[[str], None],
) -> Results | None:
    """Write the results of all finished jobs, unless those in the results folder are up to date.

    Args:
        plan: The plan of the suite.
        store: The store of its artifacts.
        folder: Its results folder.
        file: The name or path by which the suite was opened; the page repeats it in commands.
        plugins: The plug-ins that declare methods of the suite.
        drawing: Opens what shows the progress of figures.
        tell: Called with each sentence about records that were kept, left out or could not be read.

    Returns:
        The results; None if nothing is finished.
    """
    records, sentences = gather(plan, store, folder / "records.csv")
    for sentence in sentences:
        tell(sentence)
    if records is None:
        return None
    fingerprint = state(plan, store, folder / "records.csv", file, plugins)
    drawn = manifest.read(folder, fingerprint)
    if drawn is None:
        # These import matplotlib: a finished suite, whose results are up to date, answers without it.
        from pipeline.report.page.build import write_page
        from pipeline.report.plots import letters
        from pipeline.report.write import write_report

        report = report_for(plan.suite.setting)
        if sentence := letters.note(plan.suite.title, plan.card.classes, records):
            tell(sentence)
        with drawing() as progress:
            written = write_report(plan.suite, records, report.artifacts(plan, store), folder, progress)
        in_store = any(store.has(cell.job.kind, cell.job.key) for cell in plan.cells)
        describe = (
            partial(info_of_run, store=store)
            if in_store
            else partial(info_of_records, folder=folder, tell=tell)
        )
        info = describe(plan, file=file, plugins=plugins)
        written += [run_info.write(folder, info), write_page(folder, info, records)]
        gains = report.sentences(plan.suite, records, plan.compared, folder)
        drawn = manifest.write(folder, fingerprint, written, gains)
    return Results(records, drawn, folder / manifest.PAGE)
