"""What a suite's finished jobs left in the store: the rows of its records, and the artifacts of its pictures."""

import json
import tempfile
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.config import TrainParams
from pipeline.errors import UserError
from pipeline.plan import AdapterJobs, Job, Plan
from pipeline.report.artifacts import AdapterArtifacts, Artifacts, TaskArtifacts
from pipeline.store import Store


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
