"""What the commands do, as functions for notebooks and scripts (see docs/api_example.md).

    from pipeline import api

    suite = api.open_suite("digits_smoke")
    api.run_suite(suite)
    api.read_records(suite)

Importing this module imports neither torch nor pandas; each function imports what it needs. A mistake that
the user can mend is raised as `UserError`, one sentence.
"""

import math
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config
from pipeline.config import AnySuite
from pipeline.core.errors import Remark, UserError
from pipeline.core.paths import yaml_files
from pipeline.core.store import Store
from pipeline.execution.opened_suite import OpenedSuite, RunOutcome
from pipeline.execution.suite_plan import plan_of, use_plugins
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


def list_suites() -> list[str]:
    """Return the names of the suites that can be opened without a path."""
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
        jobs = preflight.as_json(suite.part(only), suite.store, capacity)["jobs"]
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
        suite.part(only),
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

    Raises:
        UserError: A number is NaN or infinite.
    """
    if not all(map(math.isfinite, [t] if isinstance(t, int | float) else t)):
        raise UserError(f"t = {t}: expected a finite number, or one for each dimension of t")
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
    from pipeline.classify.prediction import load_classifier

    return load_classifier(Path(training)).predict(images)


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
        One row for each method and augmentation, with a column for each task, their average, and the gain by
        the augmentation; as tables/accuracy_SELECTION.csv.

    Raises:
        UserError: The suite compares morphs, or does not use the selection rule.
    """
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
    return formats.frame(table)


def write_report(suite: OpenedSuite, *, quiet: bool = False) -> Path:
    """Write records, tables, figures and the page of a suite into its results folder, as `tables` does.

    Args:
        suite: An opened suite.
        quiet: Show no progress on standard error.

    Returns:
        The page.

    Raises:
        UserError: Nothing is finished, or the folder cannot be written.
    """
    from pipeline.report.collect import check_writable
    from pipeline.report.progress_bar import drawing
    from pipeline.report.results import write_results

    check_writable(suite.folder)
    results = write_results(
        suite.plan,
        suite.store,
        suite.folder,
        file=suite.file,
        plugins=suite.plugins,
        drawing=partial(drawing, quiet=quiet),
        tell=lambda sentence: warnings.warn(sentence, Remark, stacklevel=3),
    )
    if results is None:
        raise UserError(f"nothing of {suite.suite.name} is finished yet; run the suite first")
    return results.page
