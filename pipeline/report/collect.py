"""What a suite's finished jobs left in the store: the rows of its records, and the artifacts of its pictures."""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import __version__, config
from pipeline.core.errors import UserError
from pipeline.core.job import Job
from pipeline.core.store import MANIFEST, Store
from pipeline.planning.graph import Plan
from pipeline.planning.kinds.train import TrainParams
from pipeline.planning.stages import AdapterJobs
from pipeline.planning.tasks import parse_task, suite_tasks
from pipeline.report import records
from pipeline.report.artifacts import AdapterArtifacts, Artifacts, TaskArtifacts
from pipeline.report.fingerprint import stamp
from pipeline.report.page import run_info
from pipeline.report.page.run_info import About, Stage
from pipeline.report.tables import published


def check_writable(folder: Path) -> None:
    """UserError unless files can be written into `folder`: better said before hours of work than after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"the results folder {folder} can't be written ({error.strerror}); name another with --results"
        ) from error


def artifact(job: Job | None, store: Store) -> Path | None:
    """The folder of a job's artifact, or None if it is not there."""
    return store.path(job.kind, job.key) if job is not None and store.has(job.kind, job.key) else None


def collect(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """The rows of records.csv: for each selection of every training of `plan` that is finished or failed, in order."""
    rows = []
    for cell in plan.cells:
        about = {"suite": plan.suite.name, "method": cell.method, "key": cell.job.key}
        folder, reason = artifact(cell.job, store), store.failure(cell.job.kind, cell.job.key)
        if folder is not None:
            about["seconds"] = round(store.manifest(cell.job.kind, cell.job.key)["seconds"], 2)
            rows += [record | about for record in json.loads((folder / "records.json").read_text())]
        elif reason is not None:
            rows += [record | about for record in _failed(cell.job.params, reason)]
    return rows


def _failed(params: TrainParams, reason: str) -> list[dict[str, Any]]:
    """The records of a training that failed: one for each selection, without numbers."""
    nothing = {"accuracy": None, "per_class": [], "seconds": 0.0, "version": __version__}
    said = {"status": "failed", "reason": reason}
    return [params.identity() | {"selection": name} | nothing | said for name in params.selections]


def gather(plan: Plan, store: Store, file: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """The records of `plan`, written to `file`, and what the user has to know of them; None if there are none at all.

    Where no training is in the store, such as for the reference runs, they are those in `file`, which is left alone.
    """
    rows = collect(plan, store)
    if rows:
        earlier, said = _earlier(file)
        kept, more = _still_asked(earlier, plan, {row["key"] for row in rows}, file)
        place = {cell.job.key: place for place, cell in reversed(list(enumerate(plan.cells)))}
        records.write(file, sorted([*rows, *kept], key=lambda row: place[row["key"]]))
        return records.read(file), said + more
    if not file.exists():
        return None, []
    alone = f"no training of {plan.suite.name} is in the store; drawn from {file} alone, and pictures of artifacts"
    return records.read(file), [f"{alone} are left as they are"]


def _earlier(file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The records that `file` had before; one that can't be read is said, for it is written anew from the store."""
    if not file.exists():
        return [], []
    try:
        return records.read(file).to_dict("records"), []
    except UserError as error:
        return [], [f"{error}; done now, from the artifacts in the store alone"]


def _still_asked(
    earlier: list[dict[str, Any]], plan: Plan, found: set[str], file: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """Of `earlier` records those of trainings in `plan` whose artifacts are gone; and what is said of them and of the rest."""
    asked = {cell.job.key for cell in plan.cells}
    there = [row for row in earlier if row["status"] == "done" and row["key"] not in found]
    kept = [row for row in there if row["key"] in asked]
    names = (*records.COLUMNS, *records.LATER)
    other = len(there) - len(kept)
    said = []
    if kept:
        said.append(
            f"{len(kept)} records in {file} are of trainings whose artifacts are gone from the store: kept"
        )
    if other:
        said.append(
            f"{other} records that were in {file} are left out, for {plan.suite.name} as it is now does not ask for "
            "their trainings (other settings or code); what they made is still in the store"
        )
    return [{name: row[name] for name in names} for row in kept], said


def state(plan: Plan, store: Store, file: Path, named: str, plugins: Sequence[Path]) -> str:
    """A stamp of all that tables, pictures and page are drawn from: equal if they would come out the same.

    file: the records. named, plugins: what `run` was told, which the page repeats.
    """
    manifests = (store.path(job.kind, job.key) / MANIFEST for job in plan.jobs)
    made = [path.stat().st_mtime_ns if path.exists() else None for path in manifests]
    figures = [(path.name, path.stat().st_mtime_ns) for path in published.files()]
    told = (plan.suite.model_dump_json(), plan.card.model_dump_json(), [job.key for job in plan.jobs])
    return stamp(told, made, figures, file.read_text(), named, list(map(str, plugins)), str(store.root))


def _adapter_artifacts(jobs: AdapterJobs, store: Store) -> AdapterArtifacts:
    made = {name: artifact(job, store) for name, job in jobs.made.items()}
    single = {"times": jobs.times, "finetune": jobs.finetune, "flow": jobs.flow}
    return AdapterArtifacts(made=made, **{role: artifact(job, store) for role, job in single.items()})


def drawn_from(plan: Plan, store: Store) -> Artifacts:
    """The artifacts from which the pictures of `plan`'s suite are drawn."""
    tasks = {}
    for task, jobs in plan.tasks.items():
        trained = {
            (cell.method, cell.augmentation, cell.seed): folder
            for cell in plan.cells
            if cell.task == task and (folder := artifact(cell.job, store)) is not None
        }
        adapters = {name: _adapter_artifacts(made, store) for name, made in jobs.adapters.items()}
        tasks[task] = TaskArtifacts(jobs.sources, jobs.target, adapters, trained)
    return Artifacts(plan.card.classes, artifact(plan.data, store), artifact(plan.base, store), tasks)


def about_run(plan: Plan, store: Store, file: str, plugins: Sequence[Path] = ()) -> About:
    """What the page of `plan`'s suite says of its run. file, plugins: as the command was told."""
    stages, made_with, untold = [], defaultdict(Counter), 0
    for kind in dict.fromkeys(job.kind for job in plan.jobs):
        jobs = [job for job in plan.jobs if job.kind == kind]
        told = [store.manifest(kind, job.key) for job in jobs if store.has(kind, job.key)]
        seconds = sum(manifest["seconds"] for manifest in told)
        stages.append(Stage(kind=kind, done=len(told), jobs=len(jobs), seconds=round(seconds, 2)))
        for manifest in told:
            for name, value in manifest.get("made_with", {}).items():
                made_with[name][value] += 1
            untold += "made_with" not in manifest
    return About(
        suite=plan.suite,
        card=plan.card,
        tasks=list(plan.tasks),
        file=file,
        plugins=[str(path) for path in plugins],
        stages=stages,
        made_with={name: dict(values) for name, values in made_with.items()},
        untold=untold,
    )


def about_records(plan: Plan, folder: Path, file: str, plugins: Sequence[Path] = ()) -> About:
    """The same where no training is in the store: times and versions are those that run.json told, if there is one."""
    told = run_info.read(folder)
    fresh = {"suite": plan.suite, "card": plan.card, "tasks": list(plan.tasks)}
    if told is not None:
        return told.model_copy(update=fresh)
    return About(**fresh, file=file, plugins=[str(path) for path in plugins])


def about_folder(folder: Path, recorded: pd.DataFrame) -> About:
    """What run.json in a results folder says; without one, the suite under benchmarks/ that `recorded` names."""
    told = run_info.read(folder)
    if told is not None:
        return told
    names = sorted(recorded["suite"].unique())
    if len(names) != 1:
        raise UserError(f"{folder}/records.csv is of {len(names)} suites {names}; a page is of one")
    suite = config.read_suite(names[0])
    card = config.read_card(suite.dataset)
    tasks = [config.task_name(suite.setting, *task) for task in suite_tasks(suite, card)]
    return About(suite=suite, card=card, tasks=tasks, file=names[0])


def without_artifacts(told: About) -> Artifacts:
    """What pictures are drawn from where there are records alone."""
    ends = {task: parse_task(task, told.card, told.suite.setting) for task in told.tasks}
    tasks = {task: TaskArtifacts(sources, target) for task, (sources, target) in ends.items()}
    return Artifacts(told.card.classes, None, None, tasks)
