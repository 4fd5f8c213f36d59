"""What each augmentation of a suite costs and gives: `bench augmentations`."""

import json
from math import prod
from pathlib import Path

import pandas as pd
from safetensors import safe_open

from pipeline.classify.evaluation.image_quality import assess
from pipeline.config import Suite
from pipeline.core.job import Job
from pipeline.core.store import Store
from pipeline.planning.graph import Plan
from pipeline.planning.stages import AdapterJobs
from pipeline.report.collect import artifact, collect

ADAPTER = "adapter.safetensors"


def compare(plan: Plan, store: Store) -> pd.DataFrame:
    """A row for each task and augmentation of which something is finished. The columns:

    task, augmentation; held_out: yes for a LoRWeB that had no analogy of the task's target, else empty;
    one for each method: accuracy on the target's test split, in percent, the mean over seeds, by the suite's first selection;
    parameters: learned numbers of the adapter;
    train_s, make_s: seconds of fine-tuning, and of making the sets of images, as their manifests say: on whatever else the machine did;
    one for each set of made images: its Frechet distance to the target's train split, in the features of a classifier
    that learned the target's labels for this check alone (image_quality.assess). Of `none`, that of the source.
    """
    accuracies = _accuracies(plan.suite, collect(plan, store))
    rows = []
    for task, jobs in plan.tasks.items():
        sets = _sets(plan, jobs.adapters, store)
        data = artifact(plan.data, store)
        if data is None or not sets:
            continue
        named = {f"{name} {contents}": folder for (name, contents), folder in sets.items()}
        found = assess(data, jobs.target, named, jobs.sources, seed=0).set_index("set")["distance"]
        for name in plan.suite.augmentations:
            row: dict[str, object] = {"task": task, "augmentation": name, "held_out": ""}
            row |= accuracies.get((task, name), {})
            if name in jobs.adapters:
                row |= _costs(jobs.adapters[name], jobs.target, store)
            if name == "none":
                row["source"] = found["source"]
            row |= {contents: found[f"{own} {contents}"] for own, contents in sets if own == name}
            rows.append(row)
    order = ["task", "augmentation", "held_out", *_methods(plan.suite), "parameters", "train_s", "make_s"]
    table = pd.DataFrame(rows)
    return table.reindex(columns=[*order, *(name for name in table if name not in order)])


def _methods(suite: Suite) -> list[str]:
    return [suite.label(method) for method in suite.methods]


def _accuracies(suite: Suite, records: list[dict[str, object]]) -> dict[tuple[str, str], dict[str, float]]:
    """By task and augmentation, then by method: means over the seeds that are there."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    table = pd.DataFrame(records)
    if table.empty:
        return found
    table = table[table["selection"] == suite.selections[0]]
    for (task, name, method), rows in table.groupby(["task", "augmentation", "method"]):
        key = name if isinstance(name, str) else str(name)
        found.setdefault((task, key), {})[method] = float(rows["accuracy"].mean())
    return found


def _sets(plan: Plan, adapters: dict[str, AdapterJobs], store: Store) -> dict[tuple[str, str], Path]:
    """The finished sets of made images, by augmentation and contents."""
    jobs: dict[tuple[str, str], Job | None] = {("base", "generated"): plan.base}
    jobs |= {(name, contents): job for name, its in adapters.items() for contents, job in its.made.items()}
    return {key: folder for key, job in jobs.items() if (folder := artifact(job, store)) is not None}


def _costs(jobs: AdapterJobs, target: str, store: Store) -> dict[str, object]:
    """Of one adapter for one task; one that serves several tasks was trained once for all."""
    costs: dict[str, object] = {}
    analogies = getattr(jobs.finetune.params, "analogies", None)
    if analogies is not None and target not in {pair.target for pair in analogies.pairs}:
        costs["held_out"] = "yes"
    if (folder := artifact(jobs.finetune, store)) is not None:
        costs["parameters"] = _count(folder / ADAPTER)
        costs["train_s"] = _seconds(jobs.finetune, store)
    made = [_seconds(job, store) for job in jobs.made.values() if artifact(job, store) is not None]
    return costs | ({"make_s": sum(made)} if made else {})


def _seconds(job: Job, store: Store) -> float:
    return float(store.manifest(job.kind, job.key)["seconds"])


def _count(adapter: Path) -> int:
    """Numbers in the tensors of a file."""
    with safe_open(adapter, "pt") as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())


def as_markdown(table: pd.DataFrame) -> str:
    """The table for a README; nothing where nothing is known."""
    shown = table.copy()
    for name in shown:
        if shown[name].dtype.kind == "f":
            digits = 0 if name in ("parameters", "train_s", "make_s") else 1
            shown[name] = [f"{x:,.{digits}f}" if pd.notna(x) else "" for x in shown[name]]
    head = "| " + " | ".join(shown.columns) + " |"
    rule = "|" + "|".join(" :-- " if i < 3 else " --: " for i in range(len(shown.columns))) + "|"
    lines = ["| " + " | ".join(str(value) for value in row) + " |" for row in shown.to_numpy().tolist()]
    return "\n".join([head, rule, *lines]) + "\n"


def as_json(table: pd.DataFrame) -> str:
    """A list of rows, null where nothing is known."""
    return json.dumps(json.loads(table.to_json(orient="records")))
