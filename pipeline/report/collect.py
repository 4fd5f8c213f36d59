"""Collect what the finished jobs of a suite left in the store: records, and what the page tells of a run."""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import config
from pipeline.config.documents import short_repr
from pipeline.core.errors import UserError
from pipeline.core.store import MANIFEST, Store
from pipeline.planning.graph import AnyPlan, make_plan
from pipeline.report import fingerprint, records
from pipeline.report.page import run_info
from pipeline.report.page.run_info import RunInfo, StageTime
from pipeline.report.schema import DONE
from pipeline.report.suite_report import report_for
from pipeline.report.tables import published_files


def check_writable(folder: Path) -> None:
    """Refuse a results folder that cannot be written, before hours of work.

    Raises:
        UserError: No file can be written into `folder`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"the results folder {folder} can't be written ({error.strerror}); name another with --results"
        ) from error


def collect(plan: AnyPlan, store: Store) -> list[dict[str, Any]]:
    """Return the records of all cells of `plan` that are finished or failed, in the order of the plan."""
    report = report_for(plan.suite.setting)
    rows: list[dict[str, Any]] = []
    for cell in plan.cells:
        if store.has(cell.job.kind, cell.job.key):
            rows += report.records_of(plan, cell, store)
        elif (reason := _failure(cell, store)) is not None:
            rows += report.records_of_failed(plan, cell, reason)
    return rows


def _failure(cell: Any, store: Store) -> str | None:
    """Why the job of a cell failed, or one of the jobs that belong to this cell alone."""
    reasons = (store.failure(job.kind, job.key) for job in cell.own_jobs)
    return next((reason for reason in reasons if reason is not None), None)


def gather(plan: AnyPlan, store: Store, file: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """Write the records of `plan` to `file`.

    If nothing of the plan is in the store, as for reference results, the records in `file` are taken as they
    are.

    Returns:
        The records, or None if there are none, and messages for the user.
    """
    rows = collect(plan, store)
    if rows:
        earlier, messages = _read_earlier(file)
        kept, more = _still_wanted(earlier, plan, {row["key"] for row in rows}, file)
        place = {cell.job.key: place for place, cell in reversed(list(enumerate(plan.cells)))}
        records.write(file, sorted([*rows, *kept], key=lambda row: place[row["key"]]))
        return records.read(file), messages + more
    if not file.exists():
        return None, []
    unit = report_for(plan.suite.setting).schema.unit
    return records.read(file), [
        f"no {unit} of {plan.suite.name} is in the store; drawn from {file} alone, and figures of artifacts "
        "are left as they are"
    ]


def _read_earlier(file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The records that `file` had before; a message if it cannot be read and is written anew."""
    if not file.exists():
        return [], []
    try:
        rows: list[dict[str, Any]] = records.read(file).to_dict("records")  # type: ignore[assignment]
        return rows, []
    except UserError as error:
        return [], [f"{error}; done now, from the artifacts in the store alone"]


def _still_wanted(
    earlier: list[dict[str, Any]], plan: AnyPlan, found: set[str], file: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """The `earlier` records of cells whose artifacts are gone, and messages about them and about the rest."""
    report = report_for(plan.suite.setting)
    wanted = {cell.job.key for cell in plan.cells}
    others = [row for row in earlier if row["status"] == DONE and row["key"] not in found]
    kept = [row for row in others if row["key"] in wanted]
    left_out = len(others) - len(kept)
    messages = []
    if kept:
        messages.append(
            f"{len(kept)} records in {file} are of {report.units} whose artifacts are gone from the store: "
            "kept"
        )
    if left_out:
        messages.append(
            f"{left_out} records that were in {file} are left out, because {plan.suite.name} does not ask "
            f"for their {report.units} any more (other settings or code); their artifacts are still there"
        )
    return [{name: row[name] for name in report.schema.names} for row in kept], messages


def state(plan: AnyPlan, store: Store, file: Path, named: str, plugins: Sequence[Path]) -> str:
    """Return a fingerprint of everything that tables, figures and page are drawn from.

    Args:
        plan: The plan.
        store: The store.
        file: The records.
        named: The suite as the user named it, which the page repeats.
        plugins: The plug-ins that the user named.
    """
    manifests = (store.path(job.kind, job.key) / MANIFEST for job in plan.jobs)
    changed = [path.stat().st_mtime_ns if path.exists() else None for path in manifests]
    figures = [(path.name, path.stat().st_mtime_ns) for path in published_files.files()]
    stated = (plan.suite.model_dump_json(), plan.card.model_dump_json(), [job.key for job in plan.jobs])
    named_plugins = list(map(str, plugins))
    return fingerprint.compute(
        stated, changed, figures, file.read_text(), named, named_plugins, str(store.root)
    )


def info_of_run(plan: AnyPlan, store: Store, file: str, plugins: Sequence[Path] = ()) -> RunInfo:
    """Return what the page tells of the run.

    If no cell is in the store, times and versions are those of run.json, if there is one.
    """
    stages: list[StageTime] = []
    provenance: dict[str, Counter[str]] = defaultdict(Counter)
    without = 0
    for kind in dict.fromkeys(job.kind for job in plan.jobs):
        jobs = [job for job in plan.jobs if job.kind == kind]
        manifests = [store.manifest(kind, job.key) for job in jobs if store.has(kind, job.key)]
        seconds = sum(manifest["seconds"] for manifest in manifests)
        stages.append(StageTime(kind=kind, done=len(manifests), jobs=len(jobs), seconds=round(seconds, 2)))
        for manifest in manifests:
            for name, value in manifest.get("made_with", {}).items():
                provenance[name][value] += 1
            without += "made_with" not in manifest
    return _plain_info(plan, file, plugins).model_copy(
        update={
            "stages": stages,
            "made_with": {name: dict(values) for name, values in provenance.items()},
            "untold": without,
        }
    )


def info_of_records(
    plan: AnyPlan, folder: Path, tell: Callable[[str], None], file: str, plugins: Sequence[Path] = ()
) -> RunInfo:
    """Return what the page tells of a run of which no cell is in the store.

    Times and versions are those of run.json, if there is one. `tell` is called with a sentence if the file
    cannot be read.
    """
    plain = _plain_info(plan, file, plugins)
    try:
        earlier = run_info.read(folder)
    except UserError as error:
        tell(f"{error}: done now, without the times and versions of the run")
        return plain
    if earlier is None:
        return plain
    return earlier.model_copy(update={"suite": plain.suite, "card": plain.card, "tasks": plain.tasks})


def _plain_info(plan: AnyPlan, file: str, plugins: Sequence[Path]) -> RunInfo:
    return RunInfo(
        suite=plan.suite,
        card=plan.card,
        tasks=plan.compared,
        file=run_info.shareable(file),
        plugins=[run_info.shareable(str(path)) for path in plugins],
    )


def info_of_folder(folder: Path, recorded: pd.DataFrame) -> RunInfo:
    """Return what run.json in a results folder tells; without one, take the suite that the records name.

    Raises:
        UserError: The records are of several suites, or their suite does not exist.
    """
    found = run_info.read(folder)
    if found is not None:
        return found
    names = sorted(recorded["suite"].unique())
    if len(names) != 1:
        raise UserError(
            f"{folder}/records.csv is of {len(names)} suites {short_repr(names)}; a page is of one"
        )
    suite = config.read_suite(names[0])
    card = config.read_card(suite.dataset)
    return RunInfo(
        suite=suite, card=card, tasks=make_plan(suite, card, suite.base_model).compared, file=names[0]
    )
