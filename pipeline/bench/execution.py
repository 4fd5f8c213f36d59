"""Measure what the store, a finished suite and a Ray cluster cost beside the work itself."""

import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import yaml

from pipeline import config
from pipeline.bench.timing import Log, Measurements, timed
from pipeline.config import Suite
from pipeline.core.job import Job
from pipeline.core.paths import ROOT
from pipeline.core.seeds import derive
from pipeline.core.store import MANIFEST, Store, write_atomic
from pipeline.execution.worker import Message
from pipeline.planning.graph import AnyPlan, make_plan
from pipeline.planning.kinds.train import TrainParams
from pipeline.planning.rates import CPU

ARTIFACTS = 10_000
COMMITS = 200

FINISHED = {"augmentations": ["none"], "methods": ["ERM", "MCC"], "seeds": list(range(21))}
"""Changes to the suite digits, which has 12 pairs, that give 504 trainings."""

TRAININGS = 8
ITERATIONS = 100
"""Iterations of one training of digits_cnn, which take about two seconds."""


def measure(log: Log) -> Measurements:
    """Run all measurements; takes about three minutes.

    Returns:
        `store` from `store_overhead`, `finished` from `finished_suite` and `ray` from `ray_speedup`.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        log(f"store: {COMMITS} artifacts beside {ARTIFACTS}")
        measured = {"store": store_overhead(root / "many")}
        log("finished: a suite of 505 jobs, drawn once, then run again three times")
        measured["finished"] = finished_suite(root / "finished")
        log(f"ray: {TRAININGS} trainings of about two seconds, on one worker and on two")
        measured["ray"] = ray_speedup(root / "ray")
    return measured


def store_overhead(root: Path) -> dict[str, float]:
    """Measure the time of the store for one job, before and after the work, in a store with many artifacts.

    Returns:
        `artifacts`, their number, and the median `milliseconds`.
    """
    store = Store(root)
    for index in range(ARTIFACTS):
        folder = store.path("train", f"{index:024d}")
        folder.mkdir(parents=True)
        (folder / "records.json").write_text("[]")
        (folder / MANIFEST).write_text('{"files": {}}')
    needed = "input"
    _commit(store, "train", needed, {"records.json": b"[]"}, {"seconds": 1.0})
    spent = []
    for index in range(COMMITS):
        key = f"new{index:021d}"
        began = time.perf_counter()
        store.note_failure("train", key, None)
        with store.lock("train", key):
            assert not store.has("train", key)
            assert store.damage("train", needed) is None
            work = store.workspace("train", key)
            before = time.perf_counter()
            write_atomic(work / "records.json", "[]")  # the work itself, which is not counted
            working = time.perf_counter() - before
            store.commit("train", key, {"seconds": 0.0})
        spent.append(time.perf_counter() - began - working)
    return {"artifacts": ARTIFACTS, "milliseconds": 1000 * median(spent)}


def _commit(store: Store, kind: str, key: str, files: dict[str, bytes], about: dict[str, object]) -> None:
    """Commit an artifact that contains `files`."""
    work = store.workspace(kind, key)
    for name, data in files.items():
        (work / name).write_bytes(data)
    store.commit(kind, key, about)


def finished_suite(root: Path) -> dict[str, float]:
    """Time `plan` and `run` on a suite whose jobs are all finished.

    Returns:
        `jobs`, their number, and the seconds of the first run (`drawn`), of a further `run` and of `plan`.
    """
    suite = config.read_training_suite("digits")
    text = suite.model_dump(mode="json", exclude_unset=True) | FINISHED | {"name": "finished"}
    write_atomic(root / "finished.yaml", yaml.safe_dump(text))
    plan = _plan(config.read_training_suite(str(root / "finished.yaml")))
    store = Store(root / "store")
    for job in plan.jobs:
        files = _records(job) if job.kind == "train" else {"data": b""}
        about = {"label": job.label, "params": job.params.model_dump(mode="json"), "seconds": 1.0}
        _commit(store, job.kind, job.key, files, about | {"device": CPU, "inputs": {}})
    folders = ["--store", str(store.root), "--results", str(root / "results"), "--quiet", "--json"]

    def seconds(command: str) -> float:
        words = [
            sys.executable,
            "-m",
            "pipeline",
            command,
            str(root / "finished.yaml"),
            *folders,
        ]
        return timed(lambda: subprocess.run(words, check=True, capture_output=True, cwd=ROOT))

    drawn = seconds("run")
    again, planned = (median(seconds(command) for _ in range(3)) for command in ("run", "plan"))
    return {"jobs": len(plan.jobs), "drawn": drawn, "run": again, "plan": planned}


def _plan(suite: Suite) -> AnyPlan:
    return make_plan(suite, config.read_card(suite.dataset), config.resolve_base_model(suite.base_model))


def _records(job: Job) -> dict[str, bytes]:
    """Make up the artifact of a training, with random accuracies and features."""
    params = job.params
    assert isinstance(params, TrainParams)
    random = np.random.default_rng(derive(params.seed, params.task, params.method))
    rows = []
    for selection in params.selections:
        accuracy = random.uniform(20, 80)
        score = {"accuracy": accuracy, "per_class": [accuracy] * len(params.classes), "seconds": 1.0}
        rows.append(params.identity() | {"selection": selection, "version": "0"} | score)
    sets = {
        f"{name}.features": random.normal(size=(40, 8)).astype("float32") for name in ("source", "target")
    }
    labels = {f"{name}.labels": np.arange(40) % len(params.classes) for name in ("source", "target")}
    file, arrays = io.BytesIO(), sets | labels
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return {"records.json": json.dumps(rows).encode(), "features.npz": file.getvalue()}


class SilentWatcher:
    """A `Watcher` that prints nothing and raises an error when a job fails."""

    def started(self, job: Job) -> None:
        """Ignore that a job started."""

    def retried(self, job: Job, why: str) -> None:
        """Ignore that a job is tried again."""

    def progressed(self, job: Job, message: Message) -> None:
        """Ignore progress."""

    def finished(self, job: Job) -> None:
        """Ignore that a job finished."""

    def noted(self, text: str) -> None:
        """Ignore a note."""

    def failed(self, job: Job, reason: str, detail: str) -> None:
        """Raise the failure as an error."""
        raise RuntimeError(f"{job.label}: {reason}\n{detail}")


def ray_speedup(root: Path) -> dict[str, float]:
    """Time independent trainings on Ray with one worker and with two, once the workers are warm.

    Returns:
        `jobs`, their number; `job`, seconds of each; `one` and `two`, seconds of all by number of workers;
        `speedup`.
    """
    import ray

    from pipeline.core.hardware import Capacity
    from pipeline.execution import local_executor
    from pipeline.execution.ray_executor import SETTINGS, execute

    os.environ.update(SETTINGS)
    store = Store(root)
    local_executor.execute([_trainings(1)[0].inputs["data"]], store, Capacity(cpus=1), SilentWatcher())
    seconds = {}
    for workers in (1, 2):
        ray.init(
            "local",
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            capacity = Capacity(cpus=workers)
            execute(_trainings(workers, seed=1000 * workers, iterations=1), store, capacity, SilentWatcher())
            began = time.perf_counter()
            execute(_trainings(TRAININGS, seed=100 * workers), store, capacity, SilentWatcher())
            seconds[workers] = time.perf_counter() - began
        finally:
            ray.shutdown()
    each = seconds[1] / TRAININGS
    return {
        "jobs": TRAININGS,
        "job": each,
        "one": seconds[1],
        "two": seconds[2],
        "speedup": seconds[1] / seconds[2],
    }


def _trainings(count: int, seed: int = 0, iterations: int = ITERATIONS) -> list[Job]:
    """Plan `count` trainings that differ only in their seeds."""
    suite = config.read_training_suite("digits_smoke")
    train = suite.train.model_copy(
        update={"iterations": iterations, "evaluate_every": None, "checkpoint_every": 10**6}
    )
    seeds = list(range(seed, seed + count))
    few = {"train": train, "methods": suite.methods[:1], "augmentations": ["none"], "seeds": seeds}
    return [cell.job for cell in _plan(suite.model_copy(update=few)).cells]


def described(measured: Measurements) -> str:
    """Describe the measurements, one per line, with the limit of each in brackets."""
    store, finished, ray = measured["store"], measured["finished"], measured["ray"]
    lines = [
        f"store     {store['milliseconds']:.2f} ms a job at {store['artifacts']:,} artifacts (below 5)",
        f"finished  {finished['run']:.2f} s for `run` on a finished suite of {finished['jobs']} jobs "
        "(below 3)",
        f"          {finished['plan']:.2f} s for `plan` of it (below 2)",
        f"ray       {ray['speedup']:.2f} times as fast on 2 workers as on 1 (at least 1.7):",
        f"          {ray['jobs']} trainings of {ray['job']:.1f} s in {ray['two']:.1f} s and "
        f"{ray['one']:.1f} s",
    ]
    return "\n".join(lines)
