"""Compare what each augmentation of a suite costs and gives."""

import json
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open

from pipeline.classify.evaluation.image_quality import assess
from pipeline.config import Suite
from pipeline.core.job import Job
from pipeline.core.store import Store, write_atomic
from pipeline.planning.stages import AdapterJobs
from pipeline.planning.trainings import TrainingPlan
from pipeline.report.artifacts import artifact
from pipeline.report.collect import collect
from pipeline.report.tables.csv_text import to_csv
from pipeline.report.tables.formats import markdown_escape

ADAPTER = "adapter.safetensors"

WHOLE_NUMBERS = ("parameters", "train_s", "make_s")
"""Columns that are shown without decimals."""


def compare(plan: TrainingPlan, store: Store) -> pd.DataFrame:
    """Compare the augmentations of a suite that was run, as far as its jobs are finished.

    Distances are Fréchet distances to the target's train split, in the features of a classifier that is
    trained on the target's labels for this check alone (see image_quality.assess).

    Returns:
        A row for each task and augmentation, with the columns

        task, augmentation;
        A row has these columns. `held_out`: yes for a LoRWeB without any analogy of the task's target. One
        column for each method: its mean accuracy over seeds on the target's test split in percent, by the
        suite's first selection rule. `parameters`: the number of learned parameters of the adapter.
        `train_s` and `make_s`: seconds of fine-tuning and of making the images, from the manifests; other
        work on the machine lengthens them. One column for each set of made images: its distance. The row
        of `none` has the distance of the source images.
    """
    accuracies = _accuracies(plan.suite, collect(plan, store))
    rows = []
    for task, jobs in plan.tasks.items():
        sets = _finished_sets(plan, jobs.adapters, store)
        data = artifact(plan.data, store)
        if data is None or not sets:
            continue
        named = {f"{name} {contents}": folder for (name, contents), folder in sets.items()}
        distances = assess(data, jobs.target, named, jobs.sources, seed=0).set_index("set")["distance"]
        for name in plan.suite.augmentations:
            row: dict[str, object] = {"task": task, "augmentation": name, "held_out": ""}
            row |= accuracies.get((task, name), {})
            if name in jobs.adapters:
                row |= _costs(jobs.adapters[name], jobs.target, store)
            if name == "none":
                row["source"] = distances["source"]
            row |= {contents: distances[f"{own} {contents}"] for own, contents in sets if own == name}
            rows.append(row)
    methods = [plan.suite.label(method) for method in plan.suite.methods]
    order = ["task", "augmentation", "held_out", *methods, *WHOLE_NUMBERS]
    table = pd.DataFrame(rows)
    return table.reindex(columns=[*order, *(name for name in table if name not in order)])


def _accuracies(suite: Suite, records: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, float]]:
    """Average accuracies over the finished seeds: by task and augmentation, then by method."""
    means: dict[tuple[str, str], dict[str, float]] = {}
    table = pd.DataFrame(records)
    if table.empty:
        return means
    table = table[table["selection"] == suite.selections[0]]
    for (task, name, method), rows in table.groupby(["task", "augmentation", "method"]):
        means.setdefault((str(task), str(name)), {})[str(method)] = float(rows["accuracy"].mean())
    return means


def _finished_sets(
    plan: TrainingPlan, adapters: dict[str, AdapterJobs], store: Store
) -> dict[tuple[str, str], Path]:
    """Return the artifacts of the finished sets of made images, by augmentation and contents."""
    jobs: dict[tuple[str, str], Job | None] = {("base", "generated"): plan.base}
    jobs |= {(name, contents): job for name, its in adapters.items() for contents, job in its.made.items()}
    return {key: folder for key, job in jobs.items() if (folder := artifact(job, store)) is not None}


def _costs(jobs: AdapterJobs, target: str, store: Store) -> dict[str, object]:
    """Return the costs of an adapter in one task; several tasks may share one training."""
    costs: dict[str, object] = {}
    analogies = getattr(jobs.finetune.params, "analogies", None)
    if analogies is not None and target not in {pair.target for pair in analogies.pairs}:
        costs["held_out"] = "yes"
    if (folder := artifact(jobs.finetune, store)) is not None:
        costs["parameters"] = _count_parameters(folder / ADAPTER)
        costs["train_s"] = _seconds(jobs.finetune, store)
    made = [_seconds(job, store) for job in jobs.made.values() if artifact(job, store) is not None]
    return costs | ({"make_s": sum(made)} if made else {})


def _seconds(job: Job, store: Store) -> float:
    """Return the seconds that a finished job took."""
    return float(store.manifest(job.kind, job.key)["seconds"])


def _count_parameters(adapter: Path) -> int:
    """Count the numbers in all tensors of a safetensors file."""
    with safe_open(adapter, "pt") as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 (no dict)


def write(table: pd.DataFrame, folder: Path) -> None:
    """Write the table as tables/augmentations.csv and .md of a results folder."""
    write_atomic(folder / "tables" / "augmentations.csv", to_csv(table, float_format="%.4g"))
    write_atomic(folder / "tables" / "augmentations.md", as_markdown(table))


def as_markdown(table: pd.DataFrame) -> str:
    """Format the table as Markdown, with empty cells where a value is missing."""
    shown = table.copy()
    for name in shown:
        if shown[name].dtype.kind == "f":
            digits = 0 if name in WHOLE_NUMBERS else 1
            shown[name] = [f"{x:,.{digits}f}" if pd.notna(x) else "" for x in shown[name]]
    head = "| " + " | ".join(map(markdown_escape, shown.columns)) + " |"
    rule = "|" + "|".join(" :-- " if i < 3 else " --: " for i in range(len(shown.columns))) + "|"
    rows = [[markdown_escape(str(value)) for value in row] for row in shown.to_numpy().tolist()]
    return "\n".join([head, rule, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def as_json(table: pd.DataFrame) -> str:
    """Format the table as a JSON list of rows, with null where a value is missing."""
    return json.dumps(json.loads(table.to_json(orient="records")))
