"""Collects what a suite's finished jobs recorded into results/<suite>/."""

import json
from pathlib import Path
from typing import Any

from pipeline.plan import Plan
from pipeline.store import Store


def collect(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """The rows of records.csv: one for each selection of every finished training of `plan`, in the plan's order."""
    rows = []
    for cell in plan.cells:
        job = cell.job
        if store.has(job.kind, job.key):
            seconds = store.manifest(job.kind, job.key)["seconds"]
            for record in json.loads((store.path(job.kind, job.key) / "records.json").read_text()):
                rows.append(record | {"suite": plan.suite.name, "seconds": round(seconds, 2), "key": job.key})
    return rows


def artifact(plan_job: object, store: Store) -> Path | None:
    """The folder of a job's artifact if it is there."""
    if plan_job is None or not store.has(plan_job.kind, plan_job.key):
        return None
    return store.path(plan_job.kind, plan_job.key)
