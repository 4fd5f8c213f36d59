"""Measure how good the made images of a suite are."""

import pandas as pd

from pipeline.bench.timing import Log
from pipeline.classify.evaluation.image_quality import assess
from pipeline.core.store import Store
from pipeline.planning.trainings import TrainingPlan
from pipeline.report.artifacts import artifact


def measure(plan: TrainingPlan, store: Store, log: Log) -> pd.DataFrame:
    """Assess every finished set of made images of a suite, task by task.

    Args:
        plan: The suite's plan. Its dataset is one that this project builds, because target labels are used.
        store: Where the artifacts are.
        log: Called with each task that has no made images yet.

    Returns:
        The rows of image_quality.assess with the further column `task`; empty if no task has made images.
    """
    tables = []
    for task, jobs in plan.tasks.items():
        made = {
            name if adapter == "terra" else f"{adapter} {name}": job
            for adapter, its in jobs.adapters.items()
            for name, job in its.made.items()
        }
        if plan.base is not None:
            made["base"] = plan.base
        sets = {name: folder for name, job in made.items() if (folder := artifact(job, store))}
        data = artifact(plan.data, store)
        if data is None or not sets:
            log(f"{task}: no images are made yet; run the suite first")
            continue
        table = assess(data, jobs.target, sets, jobs.sources, seed=0)
        table.insert(0, "task", task)
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
