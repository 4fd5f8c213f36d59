"""What the commands do, as functions for notebooks and scripts (see docs/api_example.md).

    from pipeline import api

    suite = api.open_suite("digits_smoke")
    api.run_suite(suite)
    api.read_records(suite)

Importing this module imports neither torch nor pandas; each function imports what it needs. A mistake that
the user can mend is raised as `UserError`, one sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config
from pipeline.config import AnySuite
from pipeline.core.errors import UserError
from pipeline.core.store import Store
from pipeline.execution.suite_plan import plan_of, use_plugins
from pipeline.planning.graph import AnyPlan
from pipeline.planning.job_filter import pick
from pipeline.planning.trainings import TrainingPlan

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from pipeline.diffusion.adapters import Adapter
    from pipeline.execution.progress import JobsDone
    from pipeline.execution.suite_run import Executor

__all__ = [
    "OpenedSuite",
    "RunOutcome",
    "UserError",
    "accuracy_table",
    "list_suites",
    "load_adapter",
    "load_suite",
    "open_suite",
    "plan_suite",
    "predict",
    "read_records",
    "run_suite",
    "set_t",
    "write_report",
]


@dataclass(frozen=True)
class OpenedSuite:
    """A suite with its graph of jobs, its store, and its results folder; made by `open_suite`.

    Attributes:
        suite: The suite as its file states it.
        plan: The graph of jobs, the tasks and the cells of the suite.
        store: The store of its artifacts.
        folder: Its results folder.
        file: The name or path by which the suite was opened.
        plugins: The plug-ins that declare methods of the suite.
    """

    suite: AnySuite
    plan: AnyPlan
    store: Store
    folder: Path
    file: str
    plugins: tuple[Path, ...] = ()

    def artifact(self, label: str) -> Path:
        """Return the folder of a finished job's artifact.

        Args:
            label: The job's label, as in the column `label` of `plan_suite`.

        Raises:
            UserError: There is no such job, or it is not finished.
        """
        jobs = {job.label: job for job in self.plan.jobs}
        if label not in jobs:
            raise UserError(f"{self.suite.name} has no job {label!r}; {config.nearest(label, jobs)}")
        job = jobs[label]
        if not self.store.has(job.kind, job.key):
            raise UserError(f"{label} is not finished; run the suite first")
        return self.store.path(job.kind, job.key)


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended, in labels of jobs.

    Attributes:
        made: The jobs whose artifacts were made.
        failed: The reason of every job that failed.
        skipped: The jobs that were not tried, because a job that they need failed.
    """

    made: list[str]
    failed: dict[str, str]
    skipped: list[str]


def list_suites() -> list[str]:
    """Return the names of the suites that can be opened without a path."""
    from pipeline.core.paths import yaml_files

    return list(yaml_files("benchmarks"))


def load_suite(suite: str | Path) -> AnySuite:
    """Read a suite, without checking whether it can be run here.

    Args:
        suite: The path of a YAML file, or a name of `list_suites()`.
    """
    return config.read_suite(suite)


def open_suite(
    suite: str | Path,
    *,
    plugins: Sequence[str | Path] = (),
    store: str | Path | None = None,
    results: str | Path | None = None,
) -> OpenedSuite:
    """Read a suite, check it, and expand it into its graph of jobs.

    Args:
        suite: The path of a YAML file, or a name of `list_suites()`.
        plugins: Python files that declare methods.
        store: The folder of artifacts; by default $TERRABENCH_STORE, else results/store.
        results: The folder of results folders; by default results.
    """
    files = tuple(map(Path, plugins))
    use_plugins(files)
    read = load_suite(suite)
    folder = config.results_folder(Path(results) if results is not None else None) / read.name
    kept = Store(config.store_folder(Path(store) if store is not None else None))
    return OpenedSuite(read, plan_of(read), kept, folder, str(suite), files)


def plan_suite(suite: OpenedSuite, *, only: str | None = None, cpu: bool = False) -> "pd.DataFrame":
    """List the jobs of a suite, and estimate what each needs on this machine.

    Args:
        suite: An opened suite.
        only: A part of the suite, as the option `--only`: "task=MN->UC,method=MCC".
        cpu: Estimate for this machine without its GPUs.

    Returns:
        One row for each job: kind, label, key, done, inputs (keys), seconds, disk (bytes), gpu_gib, and rate,
        which says whether the speed was measured here.
    """
    import pandas as pd

    from pipeline.execution import local_executor
    from pipeline.planning import preflight

    with local_executor.open_executor(None, None, cpu=cpu) as capacity:
        jobs = preflight.as_json(_part(suite, only), suite.store, capacity)["jobs"]
    return pd.DataFrame([{**job, **job.pop("needs")} for job in jobs])


def run_suite(
    suite: OpenedSuite,
    *,
    only: str | None = None,
    executor: "Executor" = "local",
    workers: int | None = None,
    address: str | None = None,
    cpu: bool = False,
    quiet: bool = False,
    jobs_done: "JobsDone | None" = None,
) -> RunOutcome:
    """Make the artifacts of a suite that are missing. An interrupted run goes on from its last checkpoints.

    In a script, call this below `if __name__ == "__main__":`, because jobs run in processes that import the
    script.

    Args:
        suite: An opened suite.
        only: A part of the suite, as the option `--only`: "task=MN->UC,method=MCC".
        executor: "local" for processes of this machine, "ray" for a Ray cluster.
        workers: The most jobs at a time; None for as many as there are CPU cores and GPUs for.
        address: `HOST:PORT` of a Ray cluster, or "auto"; None for a Ray of this machine alone.
        cpu: Use no GPU, even for jobs that would take days without one.
        quiet: Show no progress on standard error.
        jobs_done: Called after each job with the number of jobs that are over, the number of all, and the
            job's label.

    """
    from pipeline.execution.suite_run import run_plan

    outcome = run_plan(
        _part(suite, only),
        suite.store,
        executor=executor,
        workers=workers,
        address=address,
        cpu=cpu,
        quiet=quiet,
        jobs_done=jobs_done,
    )
    labels = {job.key: job.label for job in suite.plan.jobs}
    return RunOutcome(
        made=[job.label for job in outcome.made],
        failed={labels[key]: reason for key, reason in outcome.failed.items()},
        skipped=[job.label for job in outcome.skipped],
    )


def _part(suite: OpenedSuite, only: str | None) -> AnyPlan:
    return suite.plan if only is None else pick(suite.plan, only)


def load_adapter(
    pipeline: Any, source: str | Path, *, t: float | Sequence[float] | None = None, scale: float = 1.0
) -> "Adapter":
    """Put a fine-tuned adapter onto a stock diffusers pipeline, in place.

    Args:
        pipeline: A diffusers pipeline with a `unet`, of the base model that the adapter was fine-tuned on.
        source: The folder of a fine-tuning's artifact, or its adapter.safetensors.
        t: The time of a Terra: one number, or one for each dimension of t; None for 0.
        scale: A factor on the adapter's update, as `generate.scale` of a suite.

    Returns:
        The adapter, for `set_t`.

    Raises:
        UserError: There is no adapter, or it does not fit the pipeline.
    """
    from pipeline.diffusion import adapters

    adapter = adapters.load_adapter(pipeline.unet, Path(source))
    adapter.set_scale(scale)
    if t is not None:
        set_t(adapter, t)
    return adapter


def set_t(adapter: "Adapter", t: float | Sequence[float]) -> None:
    """Set the time of a Terra for the images to come: 0 is the source domain, 1 the target.

    Args:
        adapter: What `load_adapter` returned.
        t: One number, or one for each dimension of t.
    """
    adapter.set_condition(t if isinstance(t, int | float) else list(t))


def predict(training: str | Path, images: "Sequence[str | Path] | np.ndarray") -> "pd.DataFrame":
    """Predict the classes of images with a training whose weights were kept (`train.keep_weights: true`).

    Args:
        training: The folder of the training's artifact, as `OpenedSuite.artifact` finds it.
        images: Paths of image files, or RGB pixels as uint8 [n, height, width, 3].

    Returns:
        One row for each image: its path or number as `image`, the most probable class as `predicted`, and the
        probability of each class in a column of its name.
    """
    import pandas as pd

    from pipeline.classify.prediction import load_classifier

    classifier = load_classifier(Path(training))
    classes = classifier.params.classes
    probabilities = pd.DataFrame(classifier.probabilities(images).numpy(), columns=classes)
    names = [str(one) for one in images] if isinstance(images, Sequence) else range(len(images))
    predicted: Any = probabilities.idxmax(axis=1) if len(probabilities) else []
    return pd.DataFrame({"image": names, "predicted": predicted}).join(probabilities)


def read_records(source: OpenedSuite | str | Path) -> "pd.DataFrame":
    """Read records: one row for each training and selection rule, or for each morph method.

    Args:
        source: An opened suite, whose finished jobs are collected from its store; or a results folder, a
            records.csv or the name of a suite.

    Returns:
        The columns of records.csv, with `seed` as int, `accuracy` (percent) and `seconds` as float, and
        `per_class` as lists of float. No row where nothing is finished.
    """
    import pandas as pd

    from pipeline.report import collect, records
    from pipeline.report.suite_report import report_for

    if not isinstance(source, OpenedSuite):
        return records.read(records.locate(str(source), config.results_folder(None)))
    found, _ = collect.gather(source.plan, source.store, source.folder / "records.csv")
    schema = report_for(source.suite.setting).schema
    return pd.DataFrame(columns=schema.names) if found is None else found


def accuracy_table(suite: OpenedSuite, *, selection: str | None = None) -> "pd.DataFrame":
    """Tabulate the accuracies of a suite of trainings, in percent: means over seeds, with standard errors.

    Args:
        suite: An opened suite.
        selection: The selection rule; by default the first of the suite.

    Returns:
        One row for each method and augmentation, with a column for each task, their average, and the gain by the
        augmentation; as tables/accuracy_SELECTION.csv.

    Raises:
        UserError: The suite compares morphs, or does not use the selection rule.
    """
    import io

    import pandas as pd

    from pipeline.report.tables import formats
    from pipeline.report.tables.accuracy import accuracy_table as tabulate

    plan = suite.plan
    if not isinstance(plan, TrainingPlan):
        raise UserError(f"{plan.suite.name} trains no classifier, and has no accuracy; see read_records")
    stated = plan.suite
    rule = selection or stated.selections[0]
    if rule not in stated.selections:
        raise UserError(f"{stated.name} has no selection {rule!r}; {config.nearest(rule, stated.selections)}")
    table = tabulate(read_records(suite), stated, plan.compared, rule)
    return pd.read_csv(io.StringIO(formats.csv(table)))


def write_report(suite: OpenedSuite, *, quiet: bool = False) -> Path:
    """Write records, tables, figures and the page of a suite into its results folder, as the command `tables`.

    Args:
        suite: An opened suite.
        quiet: Show no progress on standard error.

    Returns:
        The page.
    """
    import argparse

    from pipeline.cli.output import draw
    from pipeline.report.collect import gather

    recorded, _ = gather(suite.plan, suite.store, suite.folder / "records.csv")
    if recorded is None:
        raise UserError(f"nothing of {suite.plan.suite.name} is finished yet; run the suite first")
    draw(
        suite.plan,
        suite.store,
        suite.folder,
        argparse.Namespace(suite=suite.file, plugin=suite.plugins, quiet=quiet),
        recorded,
        "",
    )
    return suite.folder / "index.html"
